"""Strangers who want to be let in, on real sockets: none is, and the node and its links are what they were."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgpack
import pytest
import trio
import trio.testing
from websockets.trio.client import connect

from sdk.rawsocket import bound_address, listen_tcp, open_tcp, take_over
from tests.tunnel.bench import NETWORK, TOKEN, Log, Node, node
from tests.tunnel.foreign import (
    PREFACE,
    Alerted,
    ForeignLink,
    Pipe,
)
from tests.tunnel.meeting import everything, foreign_link, speak, victim, whole
from tunnel.admission import Refusal
from tunnel.identity import DEFAULT_TOKEN

pytestmark = pytest.mark.usefixtures("log")


@asynccontextmanager
async def tcp(a: Node) -> AsyncIterator[Pipe]:
    async with await open_tcp(a.tunnel.bound[0]) as socket:
        yield socket


@asynccontextmanager
async def ws(a: Node) -> AsyncIterator[Pipe]:
    async with connect(f"ws://{a.tunnel.bound[0]}", proxy=None) as websocket:
        yield whole(websocket)


Way = Callable[[Node], AbstractAsyncContextManager[Pipe]]

# Without the token.


@pytest.mark.parametrize("way", [tcp, ws])
@pytest.mark.parametrize(
    "token", ["other token", "", TOKEN + " ", DEFAULT_TOKEN], ids=["other", "empty", "almost", "default"]
)
async def test_a_peer_without_the_token_is_not_let_in(way: Way, token: str, log: Log) -> None:
    with trio.fail_after(20):
        async with victim() as a, way(a) as pipe:
            foreign = foreign_link(pipe, dialled=True, token=token)
            with pytest.raises(Alerted):
                await foreign.meet()
            assert a.recorder.story == ["up: n1"]
            assert a.tunnel.statistics().refused == {Refusal.WRONG_TOKEN: 1}
    [line] = log.lines
    assert line.startswith("refused a link from 127.0.0.1:")
    assert line.endswith(": token or network name differs")


async def test_a_token_that_was_withdrawn_lets_nobody_in_any_more(log: Log) -> None:
    with trio.fail_after(20):
        async with victim() as a:
            await a.tunnel.set_tokens(("new token",), private_only=False)
            async with tcp(a) as pipe:
                with pytest.raises(Alerted):
                    await foreign_link(pipe, dialled=True).meet()
            async with tcp(a) as pipe:
                foreign = foreign_link(pipe, dialled=True, token="new token")
                await foreign.meet()
                await a.recorder.until(lambda: foreign.id in a.tunnel.links)
    assert [line.partition(": ")[2] for line in log.lines] == ["token or network name differs"]


async def test_a_token_of_another_network_of_the_same_owner_lets_nobody_in(log: Log) -> None:
    with trio.fail_after(20):
        async with victim() as a, tcp(a) as pipe:
            foreign = ForeignLink(pipe, dialled=True, token=TOKEN, network=NETWORK + "s")
            with pytest.raises(Alerted):
                await foreign.meet()
    assert [line.partition(": ")[2] for line in log.lines] == ["token or network name differs"]


# With somebody else's name.


class Thief(ForeignLink):
    """Has the token, and shows another node's certificate."""

    stolen = b""

    def _certificate(self) -> bytes:
        return self.stolen


class Liar(ForeignLink):
    """Has the token, and signs with its own key that it is somebody else."""

    claimed = b""

    def _certificate(self) -> bytes:
        body = msgpack.packb(self._passport._replace(public=self.claimed))
        static = self.static.public_key().public_bytes_raw()
        packed: bytes = msgpack.packb((body, self.key.sign(b"micro/1 certificate\x00" + static + body)))
        return packed


def impostor(make: type[ForeignLink], pipe: Pipe, friend: ForeignLink, *, dialled: bool) -> ForeignLink:
    """Somebody who wants to pass for the node that an insider has met."""
    foreign = make(pipe, dialled=dialled, token=TOKEN, network=NETWORK)
    if isinstance(foreign, Thief):
        foreign.stolen = friend.shown
    elif isinstance(foreign, Liar):
        foreign.claimed = friend.peer.public
    return foreign


@asynccontextmanager
async def betrayed() -> AsyncIterator[tuple[Node, ForeignLink]]:
    """A victim that is linked with node 2 as well, and an insider who was shown the certificate of that."""
    async with victim() as a, node(2, "127.0.0.1:0") as c:
        a.tunnel.connect(c.tunnel.bound[0])
        link = await a.linked(c)
        async with tcp(c) as pipe:
            insider = foreign_link(pipe, dialled=True)
            await insider.meet()
        yield a, insider
        assert a.tunnel.links[c.id] is link
        assert a.recorder.story == ["up: n1", "up: n2"]


NOT_SIGNED = "certificate has a signature that does not match"


@pytest.mark.parametrize("make", [Thief, Liar])
async def test_who_dials_with_somebody_elses_certificate_is_refused(make: type[ForeignLink], log: Log) -> None:
    with trio.fail_after(20):
        async with betrayed() as (a, insider), tcp(a) as pipe:
            foreign = impostor(make, pipe, insider, dialled=True)
            with pytest.raises(EOFError):
                await foreign.meet()  # and it is not told who a is
            assert a.tunnel.statistics().refused == {Refusal.FALSE_CERTIFICATE: 1}
    [line] = log.lines
    assert line.startswith("refused a link from 127.0.0.1:")
    assert line.endswith(f": {NOT_SIGNED}")


@pytest.mark.parametrize("make", [Thief, Liar])
async def test_who_answers_with_somebody_elses_certificate_is_left(make: type[ForeignLink], log: Log) -> None:
    with trio.fail_after(20):
        async with betrayed() as (a, insider):
            [listener] = await listen_tcp("127.0.0.1:0")
            address = f"tcp://{bound_address(listener)}"
            async with listener:
                a.tunnel.connect(address)
                async with take_over(await listener.accept()) as socket:
                    foreign = impostor(make, socket, insider, dialled=False)
                    with pytest.raises((EOFError, trio.BrokenResourceError)):
                        await foreign.meet()
            [line] = await log.until(1)
    assert line == f"no link with {address}: {NOT_SIGNED}; it is tried for ever"


# Too much, before the token was shown.

TOO_MUCH = "the peer sends more than 4096 bytes before the handshake is done"
NOT_OPENED = "a handshake message does not open"
VERSIONS = "the peer speaks link versions 2 to 9"


@pytest.mark.parametrize(
    ("said", "refusal", "reason"),
    [
        pytest.param(PREFACE + b"\xff\xff", Refusal.MALFORMED, TOO_MUCH, id="long"),
        pytest.param(PREFACE + PREFACE, Refusal.MALFORMED, TOO_MUCH, id="preface"),
        pytest.param(PREFACE + b"\x00\x00", Refusal.MALFORMED, "a handshake message is too short", id="empty"),
        pytest.param(PREFACE + b"\x00\x30" + b"e" * 48, Refusal.DAMAGED, NOT_OPENED, id="no message"),
        pytest.param(PREFACE[:6] + b"\x02\x09", Refusal.MALFORMED, VERSIONS, id="version"),
    ],
)
async def test_a_handshake_that_makes_no_sense_ends_at_once(
    said: bytes, refusal: Refusal, reason: str, log: Log, mock_clock: trio.testing.MockClock
) -> None:
    async with victim() as a, await open_tcp(a.tunnel.bound[0]) as socket:  # no time passes there
        await speak(socket, said)
        await everything(socket)
        [line] = await log.until(1)
        assert a.recorder.story == ["up: n1"]
        assert a.tunnel.statistics().refused == {refusal: 1}
    assert f": {reason}" in line
