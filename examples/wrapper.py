"""Wrappers: what is done around every call, on either side, one of our own among those supplied.

Run it: python examples/wrapper.py
"""

import trio

from sdk import Client, Service, errors
from sdk.wrappers import checking_token, limiting, sending_token, timed


async def shouting(call, proceed):
    """One of our own: it may change the call, the answer, or both."""
    answer = await proceed(call)
    return {"msg": answer["msg"].upper()}


def show(call, seconds, error):
    """What became of a call; a program would add it to its metrics."""
    print(f"  {call.endpoint}: {type(error).__name__ if error else 'ok'}")


greeter = Service("greeter", wrappers=[checking_token("open-sesame"), limiting(1, burst=2), shouting])


@greeter.handle("Greeter.Hello")
async def hello(request):
    return {"msg": f"Hello {request['name']}"}


async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(greeter.serve)
        async with Client(wrappers=[timed(show)]) as stranger:
            try:
                await stranger.call("greeter", "Greeter.Hello", {"name": "John"})
            except errors.Unauthorized:
                print("who shows no token is not let in")
        async with Client(wrappers=[timed(show), sending_token("open-sesame")]) as friend:
            for _ in range(2):
                print((await friend.call("greeter", "Greeter.Hello", {"name": "John"}))["msg"])
            try:
                await friend.call("greeter", "Greeter.Hello", {"name": "John"})
            except errors.TooManyRequests:
                print("and not more often than agreed")
        greeter.stop()


if __name__ == "__main__":
    trio.run(main)
