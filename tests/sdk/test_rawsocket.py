"""TCP on a plain socket, against real sockets of this machine.

trio's stream suite is not run on it whole: `RawSocket.send_all` is no checkpoint while the socket has room, on purpose,
and `receive_some` does not check its argument. `tests/sdk/test_stream.py` runs the suite on streams over it.
"""

import fcntl
import socket
import struct
import sys
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sdk.errors import BadRequest, Conflict, Unavailable
from sdk.rawsocket import QUIET, VANISHED, WATCHED, RawSocket, bound_address, listen_tcp, open_tcp, take_over

MUCH = bytes(range(256)) * 4096 * 16
"""More than the buffers of two sockets hold."""

SIOCOUTQNSD = 0x894B
"""ioctl(2) of Linux, from linux/sockios.h."""


async def connect() -> tuple[RawSocket, RawSocket]:
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener:
        near = await open_tcp(bound_address(listener))
        return near, take_over(await listener.accept())


@pytest.fixture
async def ends() -> AsyncIterator[tuple[RawSocket, RawSocket]]:
    near, far = await connect()
    yield near, far
    near.close()
    far.close()


async def receive_everything(stream: RawSocket) -> bytes:
    received = bytearray()
    while data := await stream.receive_some():
        received += data
    return bytes(received)


async def clog(stream: RawSocket) -> None:
    """Sends until the buffers of both sockets are full: until nothing more goes, however long one waits."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, MUCH)
        await wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()


async def test_bytes_go_both_ways_and_the_end_is_seen(ends: tuple[RawSocket, RawSocket]) -> None:
    near, far = ends
    await near.send_all(b"ping")
    assert await far.receive_some() == b"ping"
    await far.send_all(memoryview(b"pong"))
    assert await near.receive_some(2) == b"po"
    assert await near.receive_some() == b"ng"
    await far.send_all(b"")
    await far.aclose()
    assert await near.receive_some() == b""


async def test_more_than_the_buffers_hold_arrives_whole_while_both_ends_send(ends: tuple[RawSocket, RawSocket]) -> None:
    near, far = ends
    received: dict[RawSocket, bytes] = {}

    async def send(stream: RawSocket) -> None:
        await stream.send_all(MUCH)

    async def receive(stream: RawSocket) -> None:
        data = bytearray()
        while len(data) < len(MUCH):
            data += await stream.receive_some()
        received[stream] = bytes(data)

    async with trio.open_nursery() as nursery:
        for stream in ends:
            nursery.start_soon(send, stream)
            nursery.start_soon(receive, stream)
    assert received == {near: MUCH, far: MUCH}


async def test_at_most_64_kib_are_read_at_a_time(ends: tuple[RawSocket, RawSocket]) -> None:
    near, far = ends
    await clog(near)
    assert len(await far.receive_some()) == 65536


async def test_both_ends_know_each_others_address(ends: tuple[RawSocket, RawSocket]) -> None:
    near, far = ends
    assert near.peer_host == far.peer_host == "127.0.0.1"
    assert near.peer.startswith("127.0.0.1:")
    assert near.peer != far.peer


async def test_what_is_sent_does_not_wait_for_more(ends: tuple[RawSocket, RawSocket]) -> None:
    assert all(stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for stream in ends)


async def test_an_end_that_vanished_without_a_word_is_noticed_even_on_a_silent_connection(
    ends: tuple[RawSocket, RawSocket],
) -> None:
    for stream in ends:
        assert stream._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == QUIET


async def test_a_connection_that_is_watched_closely_is_asked_every_few_seconds(
    ends: tuple[RawSocket, RawSocket],
) -> None:
    near, _ = ends
    near.watch_closely()
    options = [
        near._socket.getsockopt(socket.IPPROTO_TCP, each) for each in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)
    ]
    assert options == [WATCHED, WATCHED]
    assert near._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == VANISHED * 1000
    near.close()
    near.watch_closely()  # what is closed needs no watching


async def test_a_peer_that_left_before_it_was_looked_at_is_no_error_until_it_is_read() -> None:
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener:
        with socket.create_connection(listener.socket.getsockname()) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        async with take_over(await listener.accept()) as stream:
            with pytest.raises(trio.BrokenResourceError, match="connection reset by peer"):
                await stream.receive_some()
            assert stream.peer


async def test_a_full_socket_makes_its_writer_wait_until_it_is_read(
    ends: tuple[RawSocket, RawSocket], nursery: trio.Nursery
) -> None:
    near, far = ends
    await clog(near)
    room = trio.Event()

    async def wait_for_room() -> None:
        await near.wait_send_all_might_not_block()
        room.set()

    nursery.start_soon(wait_for_room)
    await wait_all_tasks_blocked(0.01)
    assert not room.is_set()
    while not room.is_set():
        await far.receive_some()


async def test_a_peer_that_closed_breaks_the_writer(ends: tuple[RawSocket, RawSocket]) -> None:
    near, far = ends
    far.close()

    async def send_for_ever() -> None:
        while True:
            await near.send_all(b"x" * 100)
            await trio.lowlevel.checkpoint()

    with pytest.raises(trio.BrokenResourceError, match=r"broken pipe|connection reset by peer"):
        await send_for_ever()


async def test_closing_a_socket_wakes_whoever_reads_or_writes_on_it(ends: tuple[RawSocket, RawSocket]) -> None:
    near, _ = ends
    await clog(near)
    ended: list[str] = []

    async def expect_closed(name: str) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await (near.receive_some() if name == "reader" else near.send_all(MUCH))
        ended.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed, "reader")
        nursery.start_soon(expect_closed, "writer")
        await wait_all_tasks_blocked()
        near.close()
    assert sorted(ended) == ["reader", "writer"]


async def test_a_socket_closed_in_the_turn_in_which_bytes_came_says_that_it_was_closed(
    ends: tuple[RawSocket, RawSocket],
) -> None:
    near, far = ends

    async def expect_closed() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await near.receive_some()

    class CloseOnWake(trio.abc.Instrument):
        """Closes after the bytes made the reader runnable and before it runs."""

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            if task.name == "reader":
                near.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed, name="reader")
        await wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(closing := CloseOnWake())
        far._socket.send(b"x")
    trio.lowlevel.remove_instrument(closing)


async def test_nothing_works_on_a_closed_socket_but_closing_it(ends: tuple[RawSocket, RawSocket]) -> None:
    near, _ = ends
    await near.aclose()
    await near.aclose()
    for verb in (near.receive_some(), near.send_all(b"x"), near.send_all(b""), near.wait_send_all_might_not_block()):
        with pytest.raises(trio.ClosedResourceError):
            await verb


async def test_a_cancelled_reader_loses_nothing(ends: tuple[RawSocket, RawSocket]) -> None:
    near, far = ends
    with trio.move_on_after(0.01) as scope:
        await near.receive_some()
    assert scope.cancelled_caught
    await far.send_all(b"x")
    assert await near.receive_some() == b"x"


async def test_an_address_where_nobody_listens_is_named() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(Unavailable, match=f"cannot connect to {address}: connection refused") as caught:
            await open_tcp(address)
    assert not caught.value.may_have_run


async def test_an_address_of_several_kinds_where_nobody_listens_is_named() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="connection refused"):
            await open_tcp(f"localhost:{sock.getsockname()[1]}")


async def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(Unavailable, match=r"cannot connect to no-such-host\.invalid:1: ") as caught:
        await open_tcp("no-such-host.invalid:1")
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", ".", "\u2260"])
async def test_a_name_that_no_host_can_have_is_an_error_like_any_other(host: str) -> None:
    with pytest.raises(Unavailable, match="no name of a host"):
        await open_tcp(f"{host}:1")
    with pytest.raises(BadRequest, match="no name of a host"):
        await listen_tcp(f"{host}:1")


async def test_an_address_without_a_host_to_connect_to_is_this_machine() -> None:
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener:
        port = bound_address(listener).rpartition(":")[2]
        stream = await open_tcp(f":{port}")
        stream.close()


async def test_a_port_that_is_taken_is_named() -> None:
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener:
        address = bound_address(listener)
        with pytest.raises(Conflict, match=f"port {address.rpartition(':')[2]} is taken"):
            await listen_tcp(address)


async def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(BadRequest, match=r"cannot listen on 192\.0\.2\.1:0"):
        await listen_tcp("192.0.2.1:0")
    with pytest.raises(BadRequest, match="expected host:port"):
        await listen_tcp("nonsense")


async def test_every_interface_is_listened_on_where_no_host_is_named_and_all_at_one_port() -> None:
    listeners = await listen_tcp(":0")
    async with trio.open_nursery() as nursery:
        assert len({listener.socket.getsockname()[1] for listener in listeners}) == 1
        assert bound_address(listeners[0]).startswith(("0.0.0.0:", "[::]:"))
        for listener in listeners:
            nursery.start_soon(listener.aclose)


async def test_an_address_of_version_6_is_written_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    [listener] = await listen_tcp("[::1]:0")
    async with listener:
        address = bound_address(listener)
        near = await open_tcp(address)
        far = take_over(await listener.accept())
        assert near.peer == address
        assert far.peer_host == "::1"
        near.close()
        far.close()


def unsent(sock: RawSocket) -> int:
    """Bytes that lie in a socket and were never sent."""
    (size,) = struct.unpack("i", fcntl.ioctl(sock._socket.fileno(), SIOCOUTQNSD, bytes(4)))
    return int(size)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what lies in a socket")
async def test_what_lies_unsent_in_a_socket_that_was_made_shallow_is_no_more_than_said_and_a_write(
    ends: tuple[RawSocket, RawSocket],
) -> None:
    near, _ = ends
    near.set_depth(8192)

    async def send() -> None:
        while True:
            await near.send_all(bytes(8192))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked(0.05)
        assert 0 < unsent(near) <= 2 * 8192
        nursery.cancel_scope.cancel()


async def test_a_write_that_does_not_fit_shows_how_it_goes_on(ends: tuple[RawSocket, RawSocket]) -> None:
    one, other = ends
    await one.send_all(b"small")
    assert one.pieces == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.send_all, bytes(50_000_000))
        await trio.testing.wait_all_tasks_blocked()
        before, taken = one.pieces, 0
        while taken < 50_000_000:
            taken += len(await other.receive_some())
    assert one.pieces > before > 0
