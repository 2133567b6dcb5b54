"""Two ends joined by nothing but bytes in memory: the bench on which ports and muxes are tried without an event loop.

What is said is written down, one line for each frame, and shown when a test fails:

    client >> OPEN 1 END 42 bytes
    server >> HEAD 1 END 17 bytes
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sdk.port import Port
from sdk.port.native import NativePort
from sdk.wire import frame
from sdk.wire.frame import Open
from sdk.wire.mux import Mux, MuxStream


class Recorder:
    """A sink that keeps what it is given: `(kind, flags, stream, payload)`, and why the port died."""

    def __init__(self, *, keep_streams: bool = True) -> None:
        """With `keep_streams` an OPEN makes its stream alive, as a sink would."""
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.deaths: list[str] = []
        self._keep_streams = keep_streams

    def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.frames.append((kind, flags, stream, payload))
        if kind == frame.OPEN and self._keep_streams:
            port.streams[stream] = None

    def on_dead(self, port: Port, reason: str) -> None:
        self.deaths.append(reason)


def frames_of(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The frames in what a port sent, without its preface."""
    data = data.removeprefix(frame.PREFACE)
    while data:
        length, kind, flags, stream = frame.HEADER.unpack_from(data)
        yield kind, flags, stream, data[frame.HEADER_SIZE : frame.HEADER_SIZE + length]
        data = data[frame.HEADER_SIZE + length :]


class Half:
    """One end: a mux on a port, the streams its peer opened, and the bytes on their way to it."""

    def __init__(self, name: str, *, peer: str, dialled: bool) -> None:
        self.opened: list[tuple[MuxStream, Open]] = []
        self.lost: list[str] = []
        self.mux = Mux(on_open=lambda stream, opened: self.opened.append((stream, opened)), on_dead=self.lost.append)
        self.port = NativePort(self.mux, role="client" if dialled else "instance", dialled=dialled, name=peer)
        self.mux.attach(self.port)
        self.inbox = b""
        """Sent by the other end, not yet delivered here."""
        self.name = name

    @property
    def alive(self) -> list[int]:
        """Numbers of the streams that are not over."""
        return sorted(self.port.streams)


class Pair:
    """Two ends and the pump between them."""

    def __init__(self) -> None:
        self.client = Half("client", peer="server", dialled=True)
        self.server = Half("server", peer="client", dialled=False)
        self.transcript: list[str] = []

    def collect(self) -> None:
        """Takes what both ends have to send, without delivering it."""
        for half, other in ((self.client, self.server), (self.server, self.client)):
            data = half.port.data_to_send(0.0)
            self.transcript += [f"{half.name} >> {frame.describe(*each)}" for each in frames_of(data)]
            other.inbox += data

    def deliver(self, half: Half, most: int | None = None) -> None:
        """Hands one end what is on its way to it, at most so many bytes."""
        data, half.inbox = (half.inbox, b"") if most is None else (half.inbox[:most], half.inbox[most:])
        more = half.port.receive_data(data, 0.0)
        while more:
            more = half.port.receive_data(b"", 0.0)

    def pump(self) -> None:
        """Lets both ends talk until neither has anything more to say."""
        self.collect()
        while self.client.inbox or self.server.inbox:
            self.deliver(self.client)
            self.deliver(self.server)
            self.collect()

    def call(self, body: bytes = b"", *, end: bool = False) -> tuple[MuxStream, MuxStream]:
        """A new stream, seen from the client and from the server."""
        here = self.client.mux.open(b"head", body, end=end)
        self.pump()
        there, _ = self.server.opened[-1]
        return here, there

    @contextmanager
    def shown(self) -> Iterator["Pair"]:
        """Adds the conversation to whatever goes wrong inside."""
        try:
            yield self
        except BaseException as error:
            error.add_note("\n".join(["the conversation:", *self.transcript[-60:]]))
            raise
