"""What benchmarks of tunnels send and receive: raw sockets and epoll, so that the tunnel is what is slow.

    python -m benchmarks.load        # the sink: prints `ready bulk=PORT echo=PORT`, serves until it is killed

Its bulk port reads a count of 8 bytes (big-endian), answers one byte, reads that many bytes, throws them away and
answers one more: the sender knows when the last byte was there, also through tunnels that do not pass on half-closed
streams. After the count STOPPED it reads nothing more. Its echo port sends back what comes.
"""

import contextlib
import os
import resource
import select
import socket
import struct
import time
from collections.abc import Iterator

PATIENCE = 60.0
"""Seconds without any event after which a tunnel counts as stuck."""

CHUNK = 1 << 20
"""Bytes of one write, and of the buffer that is read into."""

MESSAGE = 128
"""Bytes of an echoed message."""

COUNT = struct.Struct(">Q")
"""The head of a bulk stream: how many bytes come."""

STOPPED = (1 << 64) - 1
"""The count of a stream whose consumer stops at once."""

STILL = 0.5
"""Seconds in which nothing is taken of a stream that stands still."""

BUNCH = 64
"""Streams that are opened at once, where many are kept."""


class Stuck(OSError):
    """Nothing happened on any stream for PATIENCE seconds."""

    def __init__(self) -> None:
        super().__init__(f"nothing came for {PATIENCE:.0f} s")


def allow_many_files() -> None:
    """Raises this process's limit of open files as far as it goes; processes it starts inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def bulk(port: int, size: int, streams: int) -> float:
    """Sends `size` bytes over `streams` connections together; returns the seconds from when all were open until the
    sink had everything."""
    data = memoryview(os.urandom(CHUNK))
    share = size // streams
    with contextlib.ExitStack() as stack, select.epoll() as epoll:
        sockets = {sock.fileno(): sock for sock in open_all(port, streams, COUNT.pack(share), stack)}
        left = dict.fromkeys(sockets, share)
        began = time.perf_counter()
        for number in sockets:
            epoll.register(number, select.EPOLLOUT)
        done = 0
        while done < streams:
            for number, _ in wait(epoll):
                if left[number]:
                    left[number] -= sockets[number].send(data[: left[number]])
                    if not left[number]:
                        epoll.modify(number, select.EPOLLIN)
                else:
                    if not sockets[number].recv(1):
                        raise ConnectionResetError("a bulk stream ended before its end")
                    epoll.unregister(number)
                    done += 1
        return time.perf_counter() - began


def echo(port: int, streams: int, seconds: float) -> list[float]:
    """One message in flight on each of `streams` connections, for so long; returns the sorted latencies in seconds."""
    message = bytes(MESSAGE)
    latencies: list[float] = []
    with contextlib.ExitStack() as stack, select.epoll() as epoll:
        sockets = {sock.fileno(): sock for sock in open_all(port, streams, b".", stack)}
        sent: dict[int, float] = {}
        got = dict.fromkeys(sockets, 0)
        clock = time.perf_counter
        end = clock() + seconds
        for number, sock in sockets.items():
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            epoll.register(number, select.EPOLLIN)
            sent[number] = clock()
            sock.send(message)
        while clock() < end:
            for number, _ in wait(epoll):
                sock = sockets[number]
                count = len(sock.recv(MESSAGE))
                if not count:
                    raise ConnectionResetError("an echo stream ended")
                got[number] += count
                if got[number] == MESSAGE:
                    now = clock()
                    latencies.append(now - sent[number])
                    got[number] = 0
                    sent[number] = now
                    sock.send(message)
    return sorted(latencies)


def connections(port: int, at_once: int, seconds: float, most: int) -> tuple[int, float]:
    """Opens connections, echoes one byte over each and closes it, `at_once` at a time; returns how many, in how long.

    Ends after `seconds` or `most` connections: each leaves a port that cannot be used again for a while.
    """
    open_now: dict[int, socket.socket] = {}
    done = started = 0
    with select.epoll() as epoll:
        began = time.perf_counter()
        try:
            while True:
                more = most if time.perf_counter() - began < seconds else 0
                while started < more and len(open_now) < at_once:
                    sock = begin_connection(port)
                    open_now[sock.fileno()] = sock
                    epoll.register(sock.fileno(), select.EPOLLOUT)
                    started += 1
                if not open_now:
                    return done, time.perf_counter() - began
                for number, event in wait(epoll):
                    if turn(open_now[number], epoll, event, b"."):
                        open_now.pop(number).close()
                        done += 1
        finally:
            for sock in open_now.values():
                sock.close()


@contextlib.contextmanager
def idle(port: int, count: int) -> Iterator[None]:
    """So many connections that have each echoed one byte and are silent since, until the block ends."""
    with contextlib.ExitStack() as stack:
        open_all(port, count, b".", stack)
        yield


@contextlib.contextmanager
def stopped(port: int) -> Iterator[int]:
    """A bulk stream whose consumer has stopped, filled until nothing more goes in; gives how many bytes went in.

    It is reset when the block ends: an orderly end would wait behind bytes that nobody reads.
    """
    data = memoryview(os.urandom(CHUNK))
    taken = 0
    with contextlib.ExitStack() as stack, select.epoll() as epoll:
        [sock] = open_all(port, 1, COUNT.pack(STOPPED), stack)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        epoll.register(sock.fileno(), select.EPOLLOUT)
        while epoll.poll(STILL):
            taken += sock.send(data)
        yield taken


def open_all(port: int, count: int, first: bytes, stack: contextlib.ExitStack) -> list[socket.socket]:
    """Opens connections that live as long as `stack`, sends `first` on each and waits for one byte of the sink."""
    kept: list[socket.socket] = []
    while len(kept) < count:
        bunch = {}
        with select.epoll() as epoll:
            for _ in range(min(BUNCH, count - len(kept))):
                sock = stack.enter_context(begin_connection(port))
                kept.append(sock)
                bunch[sock.fileno()] = sock
                epoll.register(sock.fileno(), select.EPOLLOUT)
            while bunch:
                for number, event in wait(epoll):
                    if turn(bunch[number], epoll, event, first):
                        epoll.unregister(number)
                        del bunch[number]
    return kept


def begin_connection(port: int) -> socket.socket:
    """A connection that is being opened."""
    sock = socket.socket()
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.connect(("127.0.0.1", port))
    return sock


def turn(sock: socket.socket, epoll: select.epoll, event: int, first: bytes) -> bool:
    """Takes a connection one step on: `first` is sent once it is open; says whether the sink has answered."""
    if event & select.EPOLLOUT:
        sock.send(first)
        epoll.modify(sock.fileno(), select.EPOLLIN)
        return False
    if not sock.recv(1):
        raise ConnectionResetError("a connection was closed before the sink answered")
    return True


def wait(epoll: select.epoll) -> list[tuple[int, int]]:
    """The next events; raises Stuck when none comes."""
    events = epoll.poll(PATIENCE)
    if not events:
        raise Stuck
    return events


def serve() -> None:
    """The sink."""
    allow_many_files()
    buffer = memoryview(bytearray(CHUNK))
    epoll = select.epoll()
    listeners = {}
    for name in ("bulk", "echo"):
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        listener.setblocking(False)
        listeners[listener.fileno()] = (name, listener)
        epoll.register(listener.fileno(), select.EPOLLIN)
    print("ready", *(f"{name}={each.getsockname()[1]}" for name, each in listeners.values()), flush=True)
    echoing: dict[int, socket.socket] = {}
    sinking: dict[int, tuple[socket.socket, int]] = {}
    heads: dict[int, tuple[socket.socket, bytes]] = {}
    while True:
        for number, _ in epoll.poll():
            if number in echoing:
                sock = echoing[number]
                try:
                    count = sock.recv_into(buffer)
                    if count:
                        sock.send(buffer[:count])
                except BlockingIOError:
                    continue
                except OSError:
                    count = 0
                if not count:
                    echoing.pop(number).close()
            elif number in sinking:
                sock, left = sinking.pop(number)
                with contextlib.suppress(OSError):
                    count = sock.recv_into(buffer)
                    if count == left:
                        sock.send(b".")
                    if count:
                        sinking[number] = sock, left - count
                        continue
                sock.close()
            elif number in heads:
                sock, head = heads.pop(number)
                with contextlib.suppress(OSError):
                    more = sock.recv(COUNT.size - len(head))
                    head += more
                    if len(head) == COUNT.size:
                        sock.send(b".")
                        left = COUNT.unpack(head)[0]
                        if left == STOPPED:
                            epoll.modify(number, select.EPOLLERR)  # it is read next when it is reset
                        sinking[number] = sock, left
                        continue
                    if more:
                        heads[number] = sock, head
                        continue
                sock.close()
            else:
                name, listener = listeners[number]
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock, _ = listener.accept()
                        sock.setblocking(False)
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        epoll.register(sock.fileno(), select.EPOLLIN)
                        if name == "echo":
                            echoing[sock.fileno()] = sock
                        else:
                            heads[sock.fileno()] = sock, b""


if __name__ == "__main__":
    serve()
