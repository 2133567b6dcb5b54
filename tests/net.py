"""What networks in tests are made of: proxies, names, and addresses where nobody answers."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import trio

from sdk.connection import Transport


async def pump(one: Transport, other: Transport) -> None:
    """Passes bytes both ways until either end is over."""

    async def pass_on(source: Transport, sink: Transport) -> None:
        try:
            while data := await source.receive_some():
                await sink.send_all(bytes(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_on, one, other)
        nursery.start_soon(pass_on, other, one)


class Hosts(trio.abc.HostnameResolver):
    """Stands where the system's resolver is, in one run of trio."""

    def __init__(self, hosts: Mapping[str, list[str]]) -> None:
        self.hosts = dict(hosts)
        trio.socket.set_custom_hostname_resolver(self)

    async def getaddrinfo(self, host: Any, port: Any, *more: Any) -> Any:
        await trio.lowlevel.checkpoint()
        name = host.decode() if isinstance(host, bytes) else host
        found = self.hosts.get(name)
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        v4, v6 = socket.AF_INET, socket.AF_INET6
        return [
            (v6, socket.SOCK_STREAM, 6, "", (address, port or 0, 0, 0))
            if ":" in address
            else (v4, socket.SOCK_STREAM, 6, "", (address, port or 0))
            for address in found
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


@contextmanager
def kept_address(host: str = "127.0.0.1") -> Iterator[str]:
    """An address of this machine for programs that come and go: nobody else gets its port in the meantime, not even a
    connection of those who try whether somebody is back. Whoever listens there needs SO_REUSEADDR, as servers have."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, 0))
        yield f"{host}:{sock.getsockname()[1]}"


@contextmanager
def nobody(host: str = "127.0.0.1") -> Iterator[str]:
    """An address where nobody listens, and nobody else can: a port that was closed is soon somebody else's."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        yield f"{host}:{sock.getsockname()[1]}"


@contextmanager
def deaf(host: str, port: int) -> Iterator[None]:
    """Somebody listens at this address and never accepts, and so many wait already that the next one gets no answer."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield
