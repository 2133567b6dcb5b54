"""Reading what a program asks for."""

import math

import pytest

from proxy.asking import read_asked
from proxy.connect import ConnectRequest
from proxy.socks import SocksRequest
from proxy.visit import Visit
from sdk.head import parse_call_head_untrusted

from .raw import connected, read_to_end


async def test_it_is_read_until_it_is_whole_and_nothing_behind_it_is_lost() -> None:
    near, far = await connected()
    async with near, far:
        await far.send_all(b"HTTP/1.1\r\nHost: db\r\n\r\nhello")
        asked, reason = await read_asked(ConnectRequest(), Visit(socket=near, due=math.inf), b"CONNECT db:1 ")
        assert asked is not None
        assert parse_call_head_untrusted(asked[0]).service == "db"
        assert (asked[1], reason) == (b"hello", "")


async def test_what_the_program_waits_for_meanwhile_is_said() -> None:
    near, far = await connected()
    async with near, far:
        await far.send_all(b"\x05\x01\x00\x03\x02db\x00\x01")
        asked, _ = await read_asked(SocksRequest(lambda token: ""), Visit(socket=near, due=math.inf), b"\x05\x01\x00")
        assert asked is not None
        await near.send_eof()
        assert await read_to_end(far) == b"\x05\x00"


@pytest.mark.parametrize(
    ("due", "complaint"),
    [(-math.inf, "did not end within the time that it has"), (math.inf, "ended within its request")],
)
async def test_what_does_not_come_whole_is_none(due: float, complaint: str) -> None:
    near, far = await connected()
    async with near, far:
        await far.send_eof()
        asked, reason = await read_asked(ConnectRequest(), Visit(socket=near, due=due), b"CONNECT ")
        assert asked is None
        assert complaint in reason
