"""Requests and replies as dataclasses: checked on arrival, published in the registry.

Run it: python examples/typed.py
"""

from dataclasses import dataclass, field

import trio

from sdk import Client, Service, errors


@dataclass
class Item:
    name: str
    price: float
    count: int = 1


@dataclass
class Order:
    items: list[Item] = field(default_factory=list)


@dataclass
class Total:
    total: float
    items: int


shop = Service("shop")


@shop.handle("Shop.Total")
async def total(order: Order) -> Total:
    return Total(
        total=sum(item.price * item.count for item in order.items), items=sum(item.count for item in order.items)
    )


async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(shop.serve)
        async with Client() as client:
            order = Order([Item("tea", 3.5, 2), Item("cup", 8.0)])
            answer = await client.call("shop", "Shop.Total", order, reply_type=Total)
            print(f"{answer.items} things cost {answer.total:.2f}")
            try:
                await client.call("shop", "Shop.Total", {"items": [{"name": "tea", "price": "cheap"}]})
            except errors.BadRequest as error:
                print("refused:", error)
        shop.stop()


if __name__ == "__main__":
    trio.run(main)
