"""A service and its caller in one test, without sockets, registry or environment: see `Service.testing`.

All else is the real thing: frames, codecs, errors, deadlines, the limits of messages. The connection is a pair of
trio's memory streams, so virtual time (`trio.testing.MockClock`) works.
"""

from typing import Self

import trio
from trio.testing import memory_stream_pair

from .client import Client
from .config import ClientConfig
from .connection import run_connection
from .port.native import NativePort
from .server import Server
from .wire.mux import Mux

NOWHERE = "127.0.0.1:0"
"""The address of what is in memory: nobody can dial it."""


class TestingClient(Client):
    """A client whose one connection leads to a server in this process."""

    __test__ = False  # pytest takes it for a class of tests otherwise

    def __init__(self, server: Server) -> None:
        """The environment has no say: tests are the same everywhere."""
        super().__init__(ClientConfig(), address=NOWHERE)
        self._server = server

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        ours, theirs = memory_stream_pair()
        nursery = self._nursery
        nursery.start_soon(_answer, self._server, theirs, nursery)
        self._callees.instances.adopt(NOWHERE, ours)
        return self


async def _answer(server: Server, transport: trio.abc.Stream, nursery: trio.Nursery) -> None:
    mux = Mux(on_open=lambda stream, opened: server.accept(stream, opened, nursery), clock=trio.current_time)
    port = NativePort(mux, role="instance", dialled=False, name="the test")
    mux.attach(port)
    await run_connection(port, transport)
