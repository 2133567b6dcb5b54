"""Reading the beginning of a connection."""

import math

import trio
import trio.testing

from sdk.firstbytes import first_bytes
from sdk.rawsocket import RawSocket
from sdk.wire.sniff import Beginnings
from tests.proxy.raw import connected

TABLE = Beginnings({b"GET ": 1, b"POST ": 2}, {})


async def test_it_reads_until_the_table_decides() -> None:
    near, far = await connected()
    async with near, far, trio.open_nursery() as nursery:
        nursery.start_soon(_say, far, b"PO", b"ST", b" / and more")
        with trio.fail_after(30):
            assert (await first_bytes(near, TABLE, due=math.inf)).startswith(b"POST ")


async def test_of_what_cannot_be_in_the_table_no_more_is_awaited() -> None:
    near, far = await connected()
    async with near, far:
        await far.send_all(b"SSH")
        with trio.fail_after(30):
            assert await first_bytes(near, TABLE, due=math.inf) == b"SSH"


async def test_what_came_in_time_is_given_when_it_is_over() -> None:
    near, far = await connected()
    async with near, far:
        await far.send_all(b"GE")
        now = trio.current_time()
        assert await first_bytes(near, TABLE, due=now + 0.05) == b"GE"
        assert await first_bytes(near, TABLE, due=math.inf, patience=0.05) == b""


async def test_what_ends_or_breaks_early_is_what_it_said_or_nothing() -> None:
    near, far = await connected()
    async with near, far:
        await far.send_all(b"GE")
        await far.send_eof()
        assert await first_bytes(near, TABLE, due=math.inf) == b"GE"
    near, far = await connected()
    async with near:
        far.abort()
        assert await first_bytes(near, TABLE, due=math.inf) == b""


async def _say(socket: RawSocket, *pieces: bytes) -> None:
    for piece in pieces:
        await socket.send_all(piece)
        await trio.testing.wait_all_tasks_blocked()
