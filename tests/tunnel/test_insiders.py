"""Peers who have the token and break the rules all the same, on real sockets: each loses its link, with the reason, and
the link beside it serves on."""

import pytest
import trio

from sdk.rawsocket import open_tcp
from sdk.wire.mux import Mux
from tests.tunnel.foreign import (
    CONTROL,
    CREDIT,
    DATA,
    END,
    GOAWAY,
    GREETING,
    HELLO,
    OPEN,
    PING,
    RESET,
    ForeignLink,
    pack,
)
from tests.tunnel.meeting import foreign_link, victim
from tunnel.admission import Refusal

HEAD = b"\x03\x00" + b"\xff" * 4 + b"\x00\x04head"
LONG_HEAD = b"\x03\x00" + b"\xff" * 4 + b"\xff\xffhead"
LONG_PATH = b"\x03\xff" + bytes(16 * 255)

MISDEEDS = {
    "foreign began with a frame of type 8 instead of HELLO": [pack(PING, 0, 0, bytes(8))],
    "foreign sent a HELLO of 5000 bytes; 4096 are allowed": [pack(HELLO, 0, 0, bytes(5000))],
    "HELLO cannot be read: FormatError": [pack(HELLO, 0, 0, b"\xc1")],
    "foreign sent a frame of 65537 bytes; 65536 are allowed": [GREETING, pack(DATA, 0, 1, b"", length=65537)],
    "foreign sent a frame of 4294967295 bytes; 65536 are allowed": [GREETING, pack(77, 0, 1, b"", length=0xFFFFFFFF)],
    "foreign sent a PING of 7 bytes; it has 8": [GREETING, pack(PING, 0, 0, bytes(7))],
    "frame is too short for its number": [GREETING, pack(GOAWAY, 0, 0, b"")],
    "foreign opened stream 0, a number that is ours to give": [GREETING, pack(OPEN, 0, 0, HEAD)],
    "foreign opened stream 2, a number that is ours to give": [GREETING, pack(OPEN, 0, 2, HEAD)],
    "foreign opened stream 1 after 3": [GREETING, pack(OPEN, 0, 3, HEAD), pack(OPEN, 0, 1, HEAD)],
    "foreign opened stream 1, which is alive": [GREETING, pack(OPEN, 0, 1, HEAD), pack(OPEN, 0, 1, HEAD)],
    "OPEN is too short": [GREETING, pack(OPEN, 0, 1, b"\x03\x00")],
    "OPEN has a path that is too long": [GREETING, pack(OPEN, 0, 1, LONG_PATH)],
    "OPEN is shorter than its head": [GREETING, pack(OPEN, 0, 1, LONG_HEAD)],
    "the peer sent more than its credit": [GREETING, pack(OPEN, 0, 1, HEAD), *[pack(DATA, 0, 1, bytes(65536))] * 2],
    "more than 8388608 bytes of credit were granted on one stream": [
        GREETING, pack(OPEN, 0, 1, HEAD), pack(CREDIT, 0, 1, b"\xff" * 4),
    ],
    "RESET cannot be read: FormatError": [GREETING, pack(OPEN, 0, 1, HEAD), pack(RESET, 0, 1, b"\xc1")],
    "body bytes came after the end of their stream": [GREETING, pack(OPEN, END, 1, HEAD), pack(DATA, 0, 1, b"x")],
    "foreign sent a control message of more than 4194304 bytes": [
        GREETING, *[pack(CONTROL, 0, 0, bytes(60_000))] * 70,
    ],
}  # fmt: skip
"""The reason that is given, and what is said."""


@pytest.mark.parametrize("reason", MISDEEDS)
async def test_who_breaks_the_rules_loses_his_link_and_nobody_else_does(reason: str) -> None:
    mux = Mux(on_open=lambda stream, opened: None)
    with trio.fail_after(20):
        async with victim(sink=mux) as a, await open_tcp(a.tunnel.bound[0]) as socket:
            foreign = foreign_link(socket, dialled=True)
            await foreign.meet()
            await a.recorder.until(lambda: foreign.id in a.tunnel.links)
            mux.attach(a.tunnel.links[foreign.id].port)
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                await misbehave(foreign, MISDEEDS[reason])
            await a.recorder.until_story("up: n1", "up: foreign", f"down: foreign: {reason}")
            assert a.recorder.controls == []
            assert not mux.port.streams
            while a.tunnel.statistics().cut_off != {Refusal.MALFORMED: 1}:
                await trio.lowlevel.checkpoint()


async def misbehave(foreign: ForeignLink, frames: list[bytes]) -> None:
    for each in frames:
        await foreign.say_bytes(each)
    while True:
        await foreign.hear()


async def test_what_is_not_known_or_empty_is_skipped() -> None:
    with trio.fail_after(20):
        async with victim() as a, await open_tcp(a.tunnel.bound[0]) as socket:
            foreign = foreign_link(socket, dialled=True)
            await foreign.meet()
            await foreign.introduce()
            for data in (b"", pack(77, 0, 0, b"news"), pack(78, 255, 99, b"later"), pack(RESET, 0, 9, b"\xc1")):
                await foreign.send_record(foreign.seal(data))
            await foreign.say(CONTROL, END, 0, b"and so on")
            await a.recorder.until(lambda: a.recorder.controls == [b"and so on"])
            assert a.recorder.story == ["up: n1", "up: foreign"]


async def test_who_pings_and_never_reads_is_closed_as_a_flood() -> None:
    with trio.fail_after(30):
        async with victim() as a, await open_tcp(a.tunnel.bound[0]) as socket:
            foreign = foreign_link(socket, dialled=True)
            await foreign.meet()
            await foreign.introduce()
            with pytest.raises(trio.BrokenResourceError):
                await ping_for_ever(foreign)
            reason = "foreign lets more than 1000 answers pile up"
            told = f"down: foreign: {reason}", f"dead: {reason}"
            await a.recorder.until_story("up: n1", "up: foreign", *told)
            assert a.tunnel.statistics().refused == {}


async def ping_for_ever(foreign: ForeignLink) -> None:
    pings = pack(PING, 0, 0, bytes(8)) * 3000
    while True:
        await foreign.say_bytes(pings)
        await trio.lowlevel.checkpoint()
