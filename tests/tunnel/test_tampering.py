"""Somebody between two nodes, on real TCP: whatever he does with what he cannot read ends that connection only.

The node that is attacked has another link all the while, and that link must not notice.
"""

from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sdk.rawsocket import bound_address, listen_tcp, open_tcp, take_over
from tests.tunnel.bench import Log, Node, node
from tests.tunnel.meeting import everything, speak, victim
from tests.tunnel.middleman import ACCEPTOR_HANDSHAKE, DIALLER_HANDSHAKE, Cut, Middleman, Trick, middleman
from tunnel.admission import Refusal

pytestmark = pytest.mark.usefixtures("log", "patient")

DAMAGED = "a record was damaged or forged on the way"
LEFT = ("the peer closed the connection", "connection reset by peer")


def flip_bit(position: int) -> Callable[[bytes], bytes]:
    def change(message: bytes) -> bytes:
        at = position if position >= 0 else len(message) + position
        return message[:at] + bytes((message[at] ^ 4,)) + message[at + 1 :]

    return change


def twice(message: bytes) -> bytes:
    return message + message


def dropped(message: bytes) -> bytes:
    return b""


def shortened(message: bytes) -> bytes:
    return (len(message) - 3).to_bytes(2, "big") + message[2:-1]


def bytes_lost(message: bytes) -> bytes:
    return message[:-5]


def emptied(message: bytes) -> bytes:
    return b"\x00\x00" + message


def forged(message: bytes) -> bytes:
    return message[:2] + bytes(len(message) - 2) + message


def cut_short(message: bytes) -> bytes:
    raise Cut(message[:-1])


def on(number: int, *, outward: bool, change: Callable[[bytes], bytes]) -> Trick:
    """Changes one message of one direction."""

    def trick(direction: bool, count: int, message: bytes) -> bytes:
        return change(message) if (direction, count) == (outward, number) else message

    return trick


def swapped(number: int, *, outward: bool) -> Trick:
    """Passes a message on after the one that follows it."""
    held = b""

    def trick(direction: bool, count: int, message: bytes) -> bytes:
        nonlocal held
        if direction == outward and count == number:
            held = message
            return b""
        if direction == outward and count == number + 1:
            return message + held
        return message

    return trick


def reflected(number: int, *, outward: bool) -> Trick:
    """Sends an end what it has just sent itself."""
    own = b""

    def trick(direction: bool, count: int, message: bytes) -> bytes:
        nonlocal own
        if direction != outward and count >= DIALLER_HANDSHAKE:
            own = message
        elif direction == outward and count >= number and own:
            return own
        return message

    return trick


def again(number: int, *, outward: bool) -> Trick:
    """Sends an old record once more, some records later."""
    old = b""

    def trick(direction: bool, count: int, message: bytes) -> bytes:
        nonlocal old
        if direction == outward and count == number:
            old = message
        return old + message if direction == outward and count == number + 3 else message

    return trick


def each(change: Callable[[bytes], bytes]) -> Callable[..., Trick]:
    def make(number: int, *, outward: bool) -> Trick:
        return on(number, outward=outward, change=change)

    return make


@pytest.mark.parametrize("outward", [True, False], ids=["to the acceptor", "to the dialler"])
@pytest.mark.parametrize(
    ("make", "reasons"),
    [
        pytest.param(each(flip_bit(2)), (DAMAGED,), id="first bit"),
        pytest.param(each(flip_bit(12)), (DAMAGED,), id="bit"),
        pytest.param(each(flip_bit(-1)), (DAMAGED,), id="last bit"),
        pytest.param(each(flip_bit(1)), (DAMAGED,), id="length"),
        pytest.param(each(twice), (DAMAGED,), id="twice"),
        pytest.param(again, (DAMAGED,), id="once more later"),
        pytest.param(swapped, (DAMAGED,), id="swapped"),
        pytest.param(each(dropped), (DAMAGED,), id="dropped"),
        pytest.param(each(shortened), (DAMAGED,), id="shortened"),
        pytest.param(each(bytes_lost), (DAMAGED,), id="bytes lost"),
        pytest.param(each(emptied), (DAMAGED,), id="empty"),
        pytest.param(each(forged), (DAMAGED,), id="forged"),
        pytest.param(reflected, (DAMAGED,), id="reflected"),
        pytest.param(each(cut_short), LEFT, id="cut short"),
    ],
)
async def test_records_that_were_tampered_with_end_their_link_and_are_not_heard(
    make: Callable[..., Trick], reasons: tuple[str, ...], outward: bool
) -> None:
    number = (DIALLER_HANDSHAKE if outward else ACCEPTOR_HANDSHAKE) + 4
    with trio.fail_after(30):
        async with (
            victim() as a,
            middleman(a.tunnel.bound[0], make(number, outward=outward)) as man,
            node(2, seeds=(man.address,)) as c,
        ):
            sender, receiver = (c, a) if outward else (a, c)
            link, back = await sender.linked(receiver), await receiver.linked(sender)
            sent: list[bytes] = []
            while not back.port.dead:
                sent.append(b"message %d" % len(sent))
                link.send_control(sent[-1])
                back.send_control(b"answer")
                await trio.lowlevel.checkpoint()
            told = receiver.recorder.story[-2]
            assert told in [f"down: n{2 if outward else 0}: {reason}" for reason in reasons]
            counted = {Refusal.DAMAGED: 1} if DAMAGED in reasons else {}
            while receiver.tunnel.statistics().cut_off != counted:
                await trio.lowlevel.checkpoint()
            heard = receiver.recorder.controls
            assert 0 < len(heard) < len(sent)
            assert heard == sent[: len(heard)]
            # The next connection is left in peace, and all is well.
            while (again := await sender.linked(receiver)) is link:
                await trio.lowlevel.checkpoint()
            again.send_control(b"at last")
            await receiver.recorder.until(lambda: heard[-1] == b"at last")


@pytest.mark.parametrize("change", [flip_bit(2), flip_bit(-1), shortened], ids=["first bit", "last bit", "shortened"])
@pytest.mark.parametrize(
    ("outward", "number", "reason"),
    [
        pytest.param(True, 0, "a handshake message does not open", id="first message"),
        pytest.param(False, 0, "a handshake message does not open", id="second message"),
        pytest.param(True, 1, "token or network name differs", id="third message"),
        pytest.param(False, 1, DAMAGED, id="acceptor's certificate"),
        pytest.param(True, 2, DAMAGED, id="dialler's last word"),
    ],
)
async def test_a_handshake_that_was_tampered_with_comes_to_nothing(
    outward: bool, number: int, reason: str, change: Callable[[bytes], bytes], log: Log
) -> None:
    if change is shortened and number == 2:
        reason = "the peer's first record is too short"
    with trio.fail_after(30):
        async with (
            victim() as a,
            middleman(a.tunnel.bound[0], on(number, outward=outward, change=change)) as man,
            node(2, seeds=(man.address,)) as c,
        ):
            await log.until(1)
            assert c.id not in a.tunnel.links
            await a.linked(c)
            await c.linked(a)
            assert a.recorder.story == ["up: n1", "up: n2"]
    assert any(f": {reason}" in line for line in log.lines)


async def recorded(a: Node) -> Middleman:
    """What node 2 and node `a` said to each other when they linked up, and a message after that."""
    async with middleman(a.tunnel.bound[0]) as man, node(2, seeds=(man.address,)) as c:
        (await c.linked(a)).send_control(b"pay 100 to carol")
        await a.recorder.until(lambda: a.recorder.controls == [b"pay 100 to carol"])
        a.recorder.controls.clear()
    await a.recorder.until(lambda: len(a.recorder.story) == 4)
    a.recorder.story.clear()
    return man


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_recorded_dialler_is_not_let_in(at_once: bool, log: Log) -> None:
    with trio.fail_after(30):
        async with victim() as a:
            man = await recorded(a)
            async with await open_tcp(a.tunnel.bound[0]) as socket:
                said = man.said[True]
                for data in [b"".join(said)] if at_once else said:
                    await speak(socket, data)
                    if not at_once and data is not said[-1]:
                        await wait_all_tasks_blocked(0.002)
                assert b"\x00\x01\x01" in await everything(socket)  # the alert
            assert (a.recorder.story, a.recorder.controls) == ([], [])
            assert a.tunnel.statistics().refused == {Refusal.WRONG_TOKEN: 1}
    [line] = log.lines
    assert line.startswith("refused a link from 127.0.0.1:")
    assert line.endswith("token or network name differs")


async def test_a_recorded_acceptor_is_not_taken_for_a_node(log: Log) -> None:
    with trio.fail_after(30):
        async with victim() as a, node(2) as c:
            man = await recorded(a)
            [listener] = await listen_tcp("127.0.0.1:0")
            async with listener:
                c.tunnel.connect(bound_address(listener))
                async with take_over(await listener.accept()) as socket:
                    await speak(socket, b"".join(man.said[False]))
                    await everything(socket)
                [line] = await log.until(1)
            assert "a handshake message does not open" in line
            assert (c.recorder.story, dict(c.tunnel.links)) == ([], {})


async def test_records_of_another_connection_are_of_no_use_in_this_one() -> None:
    with trio.fail_after(30):
        async with victim() as a:
            man = await recorded(a)
            old = iter(man.said[True][1 + DIALLER_HANDSHAKE :])

            def trick(outward: bool, number: int, message: bytes) -> bytes:
                return next(old, message) if outward and number >= DIALLER_HANDSHAKE else message

            async with middleman(a.tunnel.bound[0], trick) as other, node(2, seeds=(other.address,), epoch=2) as c:
                await a.recorder.until(lambda: f"down: n2: {DAMAGED}" in a.recorder.story)
                await a.recorder.until(lambda: c.id in a.tunnel.links)  # on the next connection
            assert a.recorder.controls == []
