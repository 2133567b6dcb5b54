"""Calls the greeter. Run it: python examples/caller.py, with MICRO_PROXY=go.micro.network to call through a node."""

import trio

from sdk import Client


async def main():
    async with Client() as client:
        reply = await client.call("greeter", "Greeter.Hello", {"name": "John"})
        print(reply["msg"])
        async with client.stream("greeter", "Greeter.Count", {"to": 3}) as stream:
            async for message in stream:
                print(message["n"])


if __name__ == "__main__":
    trio.run(main)
