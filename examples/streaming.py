"""All four kinds of calls, the service and its caller in one program. Run it: python examples/streaming.py"""

import trio

from sdk import Client, Service

numbers = Service("numbers")


@numbers.handle("Numbers.Double")
async def double(request):
    """One message, one answer."""
    return {"n": 2 * request["n"]}


@numbers.handle("Numbers.Count")
async def count(request, stream):
    """One message, any number of answers."""
    for n in range(request["to"]):
        await stream.send({"n": n})


@numbers.handle("Numbers.Sum")
async def add(request, stream):
    """Any number of messages, one answer."""
    total = request["n"]
    async for message in stream:
        total += message["n"]
    await stream.send({"sum": total})


@numbers.handle("Numbers.Double.Each")
async def double_each(request, stream):
    """Both at once: each answer goes out as soon as it is there."""
    await stream.send({"n": 2 * request["n"]})
    async for message in stream:
        await stream.send({"n": 2 * message["n"]})


async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(numbers.serve)
        async with Client() as client:
            print("double:", (await client.call("numbers", "Numbers.Double", {"n": 21}))["n"])

            async with client.stream("numbers", "Numbers.Count", {"to": 3}) as stream:
                print("count:", [message["n"] async for message in stream])

            async with client.stream("numbers", "Numbers.Sum") as stream:
                for n in (1, 2, 3):
                    await stream.send({"n": n})
                await stream.send_eof()
                print("sum:", (await stream.receive())["sum"])

            async with client.stream("numbers", "Numbers.Double.Each") as stream:
                for n in (1, 2, 3):
                    await stream.send({"n": n})
                    print("each:", n, "→", (await stream.receive())["n"])
        numbers.stop()


if __name__ == "__main__":
    trio.run(main)
