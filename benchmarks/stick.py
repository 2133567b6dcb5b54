"""The measuring stick: how fast this machine forwards calls when a node does nothing but forward.

Four processes, client → node A → encrypted TCP link → node B → service. The two bare nodes have no credit, no routing
and no error handling: a frame is looked up in a dict and appended to a list. Client and service here are as bare;
they speak the real frames, so that the same two can stand around real nodes, and the difference is the nodes alone.

    python -m benchmarks.stick ROLE …          one process of a run; `benchmarks.rpc` starts them
"""

import argparse
import socket
import sys
from collections.abc import Callable

import msgpack
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sdk.head import CallHead, ReplyHead, pack_call_head, pack_reply_head
from sdk.wire import frame
from sdk.wire.frame import END, HEAD, HEADER, HELLO, OPEN

READ = 65536
RECORD = 65535 - 16
_pack = msgpack.Packer(autoreset=True).pack

OnFrame = Callable[["BarePort", int, int, int, bytes], None]


class BarePort:
    """Frames over a socket: one task reads, one writes; what gathers while the writer is busy is its next write."""

    def __init__(self, sock: trio.socket.SocketType, on_frame: OnFrame, *, role: str = "") -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.on_frame = sock, on_frame
        self.out: list[bytes] = []
        self.legs: dict[int, tuple[BarePort, int]] = {}
        self.next_stream = 1
        self.preface = bool(role)
        self.awake = trio.Event()
        if role:
            hello = frame.pack_hello(frame.Hello(frame.VERSION, role, 10_000))
            self.out = [frame.PREFACE, frame.pack_frame(HELLO, 0, 0, hello)]

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Queues a frame."""
        self.out.append(HEADER.pack(len(payload), kind, flags, stream))
        self.out.append(payload)
        self.awake.set()

    async def run(self) -> None:
        """Until the peer is gone."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_all)
                await self._read_all()
                nursery.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError):
            pass
        finally:
            self.sock.close()

    async def _write_all(self) -> None:
        while True:
            if not self.out:
                self.awake = trio.Event()
                await self.awake.wait()
            out, self.out = self.out, []
            await self.write(b"".join(out))

    async def _read_all(self) -> None:
        buffer, on_frame = b"", self.on_frame
        while data := await self.read():
            buffer = buffer + data if buffer else data
            start, end = 0, len(buffer)
            if self.preface and end >= len(frame.PREFACE):
                self.preface, start = False, len(frame.PREFACE)
            while end - start >= 10:
                length, kind, flags, stream = HEADER.unpack_from(buffer, start)
                stop = start + 10 + length
                if stop > end:
                    break
                on_frame(self, kind, flags, stream, buffer[start + 10 : stop])
                start = stop
            buffer = buffer[start:]

    async def write(self, data: bytes) -> None:
        """Sends all of it."""
        view = memoryview(data)
        while view:
            view = view[await self.sock.send(view) :]

    async def read(self) -> bytes:
        """What has come."""
        return await self.sock.recv(READ)


class BareLink(BarePort):
    """The same, in AES-256-GCM records."""

    def __init__(self, sock: trio.socket.SocketType, on_frame: OnFrame) -> None:
        super().__init__(sock, on_frame)
        self._cipher, self._sent, self._received, self._rest = AESGCM(b"k" * 32), 0, 0, b""

    async def write(self, data: bytes) -> None:
        """Seals, then sends."""
        for start in range(0, len(data), RECORD):
            self._sent += 1
            sealed = self._cipher.encrypt(self._sent.to_bytes(12, "big"), data[start : start + RECORD], None)
            await super().write(len(sealed).to_bytes(2, "big") + sealed)

    async def read(self) -> bytes:
        """Reads, then opens what is complete."""
        records: list[bytes] = []
        while not records:
            data = await self.sock.recv(READ)
            if not data:
                return b""
            buffer, start = self._rest + data, 0
            while len(buffer) - start >= 2:
                length = int.from_bytes(buffer[start : start + 2], "big")
                if len(buffer) - start - 2 < length:
                    break
                self._received += 1
                record = buffer[start + 2 : start + 2 + length]
                records.append(self._cipher.decrypt(self._received.to_bytes(12, "big"), record, None))
                start += 2 + length
            self._rest = buffer[start:]
        return b"".join(records)


def bare_switch(far_port: Callable[[], BarePort]) -> OnFrame:
    """Passes calls to the far port and answers back; reads and rewrites each head, as the prototype did."""

    def on_frame(near: BarePort, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == OPEN:
            opened = frame.split_open_untrusted(payload)
            head = msgpack.unpackb(opened.head)
            far = far_port()
            far_stream, far.next_stream = far.next_stream, far.next_stream + 2
            near.legs[stream], far.legs[far_stream] = (far, far_stream), (near, stream)
            packed = frame.pack_open(opened.hops - 1, b"", opened.ms, _pack(head), opened.body)
            far.send(OPEN, flags, far_stream, packed)
        elif leg := near.legs.pop(stream, None):
            far, far_stream = leg
            far.legs.pop(far_stream, None)
            far.send(kind, flags, far_stream, payload)

    return on_frame


async def node_a(port: int, link_port: int) -> None:
    """The caller's node."""
    far: list[BarePort] = []
    on_frame = bare_switch(lambda: far[0])
    link = BareLink(await dial(link_port), on_frame)
    far.append(link)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        await serve(port, lambda sock: BarePort(sock, on_frame, role="node"))


async def node_b(port: int, service_port: int) -> None:
    """The service's node."""
    far: list[BarePort] = []
    on_frame = bare_switch(lambda: far[0])
    far.append(BarePort(await dial(service_port), on_frame, role="node"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(far[0].run)
        await serve(port, lambda sock: BareLink(sock, on_frame))


async def service(port: int) -> None:
    """Answers each call with its own body."""
    head = pack_reply_head(ReplyHead("application/octet-stream"))

    def on_frame(near: BarePort, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == OPEN:
            opened = frame.split_open_untrusted(payload)
            msgpack.unpackb(opened.head)
            near.send(HEAD, END, stream, frame.pack_headed(head, opened.body))

    await serve(port, lambda sock: BarePort(sock, on_frame, role="instance"))


async def dial(port: int) -> trio.socket.SocketType:
    """Connects as soon as somebody listens."""
    with trio.fail_after(10):
        while True:
            sock = trio.socket.socket()
            try:
                await sock.connect(("127.0.0.1", port))
            except OSError:
                sock.close()
                await trio.sleep(0.05)
            else:
                return sock


async def serve(port: int, make_port: Callable[[trio.socket.SocketType], BarePort]) -> None:
    """Accepts on a port (0: any) and says which."""

    async def handle(stream: trio.SocketStream) -> None:
        await make_port(stream.socket).run()

    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    sys.stdout.write(f"ready {listeners[0].socket.getsockname()[1]}\n")
    sys.stdout.flush()
    await trio.serve_listeners(handle, listeners)


async def call_bare(port: int, in_flight: int, seconds: float, *, connections: int = 1) -> list[float]:
    """Calls `greeter` from `in_flight` tasks for a while; the seconds each call took, sorted."""
    latencies: list[float] = []
    body = b"\0" + (128).to_bytes(4, "big") + b"x" * 128
    head = pack_call_head(
        CallHead("greeter", "Greeter.Hello", "rpc", 0, "application/octet-stream", (), b"0123456789abcdef")
    )

    async def connect(nursery: trio.Nursery, tasks: int) -> None:
        waiting: dict[int, trio.lowlevel.Task] = {}

        def on_frame(near: BarePort, kind: int, flags: int, stream: int, payload: bytes) -> None:
            if kind == HEAD and flags & END:
                if task := waiting.pop(stream, None):  # else the measurement was over before its answer came
                    trio.lowlevel.reschedule(task)
            elif stream:
                raise SystemExit(f"not an answer: {frame.describe(kind, flags, stream, payload)} {payload!r}")

        near = BarePort(await dial(port), on_frame, role="client")
        nursery.start_soon(near.run)
        for _ in range(tasks):
            nursery.start_soon(call, near, waiting)

    async def call(near: BarePort, waiting: dict[int, trio.lowlevel.Task]) -> None:
        while True:
            began = trio.current_time()
            stream, near.next_stream = near.next_stream, near.next_stream + 2
            near.send(OPEN, END, stream, frame.pack_open(3, b"", 5000, head, body))
            waiting[stream] = trio.lowlevel.current_task()

            def abort(_: trio.lowlevel.RaiseCancelT, stream: int = stream) -> trio.lowlevel.Abort:
                waiting.pop(stream, None)
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
            latencies.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            await connect(nursery, in_flight // connections)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return sorted(latencies)


def main() -> None:
    """Runs one role."""
    parser = argparse.ArgumentParser(description="one process of the measuring stick")
    parser.add_argument("role", choices=["a", "b", "service"])
    parser.add_argument("ports", nargs="+", type=int)
    arguments = parser.parse_args()
    if arguments.role == "service":
        trio.run(service, *arguments.ports)
    else:
        trio.run({"a": node_a, "b": node_b}[arguments.role], *arguments.ports)


if __name__ == "__main__":
    main()
