"""A man in the middle: between a dialler and a link port he passes messages on, writes them down, and may change them.

Handshake messages and records look alike to him: two bytes of length, then what he cannot read.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from sdk.rawsocket import RawSocket, bound_address, listen_tcp, open_tcp, take_over

PREFACE_SIZE = 8

# What the dialler sends first, and what the acceptor does; records of the link come after these.
DIALLER_HANDSHAKE = 3
ACCEPTOR_HANDSHAKE = 2


class Cut(Exception):
    """The connection is to be cut, after these last bytes."""

    def __init__(self, last: bytes) -> None:
        super().__init__("cut")
        self.last = last


Trick = Callable[[bool, int, bytes], bytes]
"""Makes what is passed on of a message: whether the dialler sent it, its number from 0, its bytes with the length."""


def honest(outward: bool, number: int, message: bytes) -> bytes:
    return message


class Middleman:
    """He tricks the first connection only, and passes later ones on as they are."""

    def __init__(self, target: str, trick: Trick) -> None:
        self.address = ""
        """Where to dial."""
        self.said: dict[bool, list[bytes]] = {True: [], False: []}
        """What the dialler sent on the first connection, and what the acceptor did: prefaces and messages."""
        self._target = target
        self._trick = trick
        self._connections = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection."""
        first = not self._connections
        self._connections += 1
        async with take_over(stream) as near, await open_tcp(self._target) as far, trio.open_nursery() as nursery:
            for outward, source, drain in ((True, near, far), (False, far, near)):
                nursery.start_soon(self._pass_on, outward, source, drain, nursery.cancel_scope, first)

    async def _pass_on(
        self, outward: bool, source: RawSocket, drain: RawSocket, both: trio.CancelScope, first: bool
    ) -> None:
        try:
            preface = await _read(source, PREFACE_SIZE)
            if first:
                self.said[outward].append(preface)
            await drain.send_all(preface)
            number = 0
            while True:
                length = await _read(source, 2)
                message = length + await _read(source, int.from_bytes(length, "big"))
                if first:
                    self.said[outward].append(message)
                    message = self._trick(outward, number, message)
                number += 1
                if message:
                    await drain.send_all(message)
        except Cut as cut:
            await drain.send_all(cut.last)
        except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        both.cancel()


@asynccontextmanager
async def middleman(target: str, trick: Trick = honest) -> AsyncIterator[Middleman]:
    """He stands before the link port at `target`."""
    man = Middleman(target, trick)
    [listener] = await listen_tcp("127.0.0.1:0")
    man.address = bound_address(listener)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, man.serve, [listener])
        yield man
        nursery.cancel_scope.cancel()


async def _read(source: RawSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await source.receive_some(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
