# %% [markdown]
# Calls from a notebook, or from any script that is not asynchronous. Each cell stands for itself: it calls, and waits
# for the answer. Run it as a whole with `python examples/notebook.py`; the greeter must be there.

# %%
import trio

from sdk import Client


def call(service, endpoint, request=None):
    """Calls, and waits for the answer five seconds at most."""

    async def one():
        async with Client() as client:
            return await client.call(service, endpoint, request)

    return trio.run(one)


# %%
call("greeter", "Greeter.Hello", {"name": "John"})["msg"]

# %%
names = ["Ada", "Grace", "Barbara"]


async def greet_all():
    """Many calls at once share one connection."""
    greetings = {}

    async def greet(client, name):
        greetings[name] = (await client.call("greeter", "Greeter.Hello", {"name": name}))["msg"]

    async with Client() as client, trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(greet, client, name)
    return [greetings[name] for name in names]


print(*trio.run(greet_all), sep="\n")
