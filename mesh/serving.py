"""What every program of this package does that can be called: it binds a port, answers for services of its own behind
the switch, and ends when nothing is open any more."""

from contextlib import AsyncExitStack
from typing import Final

import trio

from proxy.switch import Switch
from sdk.port import Port
from sdk.port.inner import inner_pair
from sdk.rawsocket import listen_tcp
from sdk.server import Server
from sdk.wire.mux import Mux

LOOK: Final = 0.02
"""Seconds between looks at the open calls of a program that drains."""


async def bind(stack: AsyncExitStack, address: str, flag: str) -> list[trio.SocketListener]:
    """The listeners at `host:port`, which are closed with `stack`. Raises `Conflict` where the port is taken and
    `BadRequest` for an address that cannot be bound, which begin with `flag`."""
    listeners = await listen_tcp(address, flag=flag)
    for listener in listeners:
        stack.push_async_callback(listener.aclose)
    return listeners


def answer_inside(server: Server, switch: Switch, nursery: trio.Nursery) -> Port:
    """The port at which the switch finds a service of the program itself. Its calls are answered in the nursery."""
    mux = Mux(on_open=lambda stream, opened: server.accept(stream, opened, nursery))
    near, far = inner_pair(switch, mux, name=server.name, clock=trio.current_time)
    mux.attach(far)
    return near


async def idle(switch: Switch) -> None:
    """Waits until no call is open."""
    while switch.statistics()["open"]:  # noqa: ASYNC110 - an event would cost every call something
        await trio.sleep(LOOK)
