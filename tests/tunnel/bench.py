"""Two ends to test with: handshakes without a network, and whole tunnels that write down what they are told."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import trio

from sdk.errors import RemoteProtocolError
from sdk.port import Port, Sink
from sdk.timers import Timers
from tunnel.handshake import LinkHandshake
from tunnel.identity import Certificate, NodeId, NodeKey, network_key, network_keys
from tunnel.link import Link
from tunnel.transport.memory import MemoryNetwork, MemoryStream
from tunnel.transport.proxies import Proxies
from tunnel.transport.tls import TlsConfig
from tunnel.tunnel import Tunnel, TunnelConfig

TOKEN = "a token that nobody may read"
NETWORK = "test.net"
NO_FILES, NO_PROXY = TlsConfig(), Proxies()

KEYS = sorted((NodeKey(bytes([number]) * 32) for number in range(1, 4)), key=lambda key: key.id)
"""Three node keys, the smallest id first."""


def certificate(key: NodeKey, **changes: Any) -> Certificate:
    fields: dict[str, Any] = {"public": key.public, "epoch": 1, "name": "", "addresses": (), "network": NETWORK}
    return Certificate(**(fields | changes))


def handshake(
    key: NodeKey,
    *,
    dialled: bool,
    psk: bytes = b"p" * 32,
    psks: tuple[bytes, ...] = (),
    static: bytes = b"",
    admitted: set[NodeId] | None = None,
    **changes: Any,
) -> LinkHandshake:
    number = KEYS.index(key)
    return LinkHandshake(
        dialled=dialled,
        key=key,
        static=static or bytes([20 + number]) * 32,
        ephemeral=bytes([30 + number + 5 * dialled]) * 32,
        psks=psks or (psk,),
        certificate=certificate(key, **changes),
        admitted=admitted,
    )


class Recorder:
    """A sink and the events of links: what happened, in order, as text."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.controls: list[bytes] = []
        self.refuse_control = False
        self.told = trio.Event()

    async def until(self, happened: Callable[[], bool]) -> None:
        """Waits for something to be told; the test's own deadline bounds it."""
        while not happened():
            await self.told.wait()

    async def until_story(self, *story: str) -> None:
        with trio.move_on_after(60):
            await self.until(lambda: len(self.story) >= len(story))
        assert self.story == list(story)

    def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        port.streams[stream] = None
        self.frames.append((kind, flags, stream, payload))
        self._tell()

    def on_dead(self, port: Port, reason: str) -> None:
        self._tell(f"dead: {reason}")

    def link_up(self, link: Link) -> None:
        self._tell(f"up: {link.name}")

    def link_down(self, link: Link, reason: str) -> None:
        self._tell(f"down: {link.name}: {reason}")

    def control(self, link: Link, message: bytes) -> None:
        if self.refuse_control:
            raise RemoteProtocolError("this message makes no sense")
        self.controls.append(message)
        self._tell()

    def _tell(self, line: str = "") -> None:
        if line:
            self.story.append(line)
        self.told.set()
        self.told = trio.Event()


class Log(logging.Handler):
    """What is said at WARNING and above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._said = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._said.set()
        self._said = trio.Event()

    async def until(self, lines: int) -> list[str]:
        """The first so many lines, sorted."""
        with trio.fail_after(20):
            while len(self.lines) < lines:
                await self._said.wait()
        return sorted(self.lines)


class Node:
    """A tunnel with its recorder."""

    def __init__(self, tunnel: Tunnel, recorder: Recorder, id: NodeId) -> None:
        self.tunnel = tunnel
        self.recorder = recorder
        self.id = id

    def link(self, to: "Node") -> Link:
        return self.tunnel.links[to.id]

    async def linked(self, to: "Node") -> Link:
        """The link with another node, once it is up."""
        with trio.fail_after(60):
            await self.recorder.until(lambda: to.id in self.tunnel.links)
        return self.link(to)


@asynccontextmanager
async def node(
    number: int,
    *listen: str,
    network: MemoryNetwork | None = None,
    key: NodeKey | None = None,
    epoch: int = 1,
    token: str | tuple[str, ...] = TOKEN,
    name: str = "",
    seeds: tuple[str, ...] = (),
    advertise: tuple[str, ...] = (),
    private_only: bool = False,
    admitted: frozenset[NodeId] | None = None,
    tls: TlsConfig = NO_FILES,
    proxies: Proxies = NO_PROXY,
    sink: Sink | None = None,
) -> AsyncIterator[Node]:
    """A running tunnel, called `n0`, `n1` or `n2` by its key; it is gone when the block ends, as if killed. Frames go
    to the recorder where no other `sink` is given."""
    tokens = (token,) if isinstance(token, str) else token
    network_keys(tokens, NETWORK)  # found now: a thread is no thing to wait for on a virtual clock
    config = TunnelConfig(
        listen=listen,
        tokens=tokens,
        network=NETWORK,
        name=name or f"n{number}",
        advertise=advertise,
        private_only=private_only,
        admitted=admitted,
        tls=tls,
        proxies=proxies,
    )
    recorder, timers, key = Recorder(), Timers(), key or KEYS[number]
    network = network or MemoryNetwork()
    tunnel = Tunnel(config, key, epoch, sink or recorder, recorder, timers, Random(number), network=network)
    for seed in seeds:
        tunnel.connect(seed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        await nursery.start(lambda task_status: tunnel.run(task_status=task_status))
        yield Node(tunnel, recorder, key.id)
        nursery.cancel_scope.cancel()


async def shake_hands(end: LinkHandshake, stream: MemoryStream) -> None:
    while not end.done:
        if out := end.data_to_send():
            await stream.send_all(out)
        end.receive_data(await stream.receive_some())


@asynccontextmanager
async def raw_link(net: MemoryNetwork, address: str, *, epoch: int) -> AsyncIterator[MemoryStream]:
    """Links up as the node with the smallest id, by the name of `zero`, and never says another word."""
    async with await net.dial(address.removeprefix("mem://")) as stream:
        end = handshake(KEYS[0], dialled=True, psk=network_key(TOKEN, NETWORK), name="zero", epoch=epoch)
        await shake_hands(end, stream)
        end.accept()
        await stream.send_all(end.data_to_send())
        yield stream
