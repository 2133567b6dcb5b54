"""Turns: bulk behind small, each stream its share, nothing lost and nothing out of order."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from sdk.wire.frame import DATA, END, HEAD, HEADER, HEADER_SIZE
from tunnel.backlog import BULK, LEAST, Backlog


def frames(pieces: Sequence[bytes]) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of what was taken."""
    result = []
    for header, payload in zip(pieces[::2], pieces[1::2], strict=True):
        length, kind, flags, stream = HEADER.unpack(header)
        assert length == len(payload)
        result.append((kind, flags, stream, payload))
    return result


def sent(pieces: Sequence[bytes]) -> dict[int, int]:
    """Payload bytes by stream."""
    total: dict[int, int] = {}
    for _, _, stream, payload in frames(pieces):
        total[stream] = total.get(stream, 0) + len(payload)
    return total


def test_a_small_stream_goes_before_bulk_that_came_first() -> None:
    backlog = Backlog()
    for _ in range(10):
        backlog.push(DATA, 0, 1, bytes(60_000))
    backlog.push(DATA, END, 3, b"small")
    taken = frames(backlog.take(LEAST * 7))
    assert taken[0] == (DATA, END, 3, b"small")
    assert taken[1][2] == 1


def test_bulk_gets_its_eighth_however_much_the_small_ones_want() -> None:
    backlog = Backlog()
    for _ in range(40):
        backlog.push(DATA, 0, 1, bytes(60_000))
    for _ in range(64):
        for stream in range(3, 200, 2):
            if stream not in backlog:
                backlog.push(DATA, 0, stream, bytes(60_000))
        taken = sent(backlog.take(64_000))
        assert sum(taken.values()) <= 64_000 + LEAST
    assert BULK * 6 < 40 * 60_000 - backlog._queues[1].size < BULK * 9


def test_equals_take_turns() -> None:
    backlog = Backlog()
    for stream in (1, 3, 5):
        for _ in range(20):
            backlog.push(DATA, 0, stream, bytes(60_000))
    total = {1: 0, 3: 0, 5: 0}
    for budget in [256 * 1024] * 6 + [10_000] * 40:
        for stream, size in sent(backlog.take(budget)).items():
            total[stream] += size
    assert max(total.values()) - min(total.values()) <= BULK
    assert sum(total.values()) > 1_500_000


def test_a_stream_stays_bulk_until_nothing_of_it_waits() -> None:
    backlog = Backlog()
    for _ in range(2):
        backlog.push(DATA, 0, 1, bytes(60_000))
    backlog.take(100_000)
    assert backlog.size < BULK
    backlog.push(DATA, 0, 3, b"x" * 1000)
    assert frames(backlog.take(LEAST))[0][2] == 3
    backlog.take(BULK)
    backlog.push(DATA, 0, 1, b"y" * 1000)
    backlog.push(DATA, 0, 3, b"x" * 1000)
    assert frames(backlog.take(LEAST))[0][2] == 1


def test_a_frame_that_does_not_fit_is_cut_and_its_end_stays_at_the_end() -> None:
    backlog = Backlog()
    backlog.push(DATA, END, 1, bytes(range(200)) * 100)
    cut = frames(backlog.take(5000))
    assert [(flags, len(payload)) for _, flags, _, payload in cut] == [(0, 5000 - HEADER_SIZE)]
    rest = frames(backlog.take(50_000))
    assert rest[-1][1] == END
    assert cut[0][3] + b"".join(payload for *_, payload in rest) == bytes(range(200)) * 100


def test_a_head_is_never_cut() -> None:
    backlog = Backlog()
    backlog.push(HEAD, 0, 1, bytes(40_000))
    assert [len(payload) for *_, payload in frames(backlog.take(2000))] == [40_000]


def test_what_is_dropped_is_not_sent() -> None:
    backlog = Backlog()
    for stream in (1, 3):
        backlog.push(DATA, 0, stream, bytes(70_000))
    backlog.push(DATA, 0, 5, b"five")
    backlog.drop(1)
    backlog.drop(5)
    backlog.drop(7)
    assert sent(backlog.take(1 << 20)) == {3: 70_000}
    assert backlog.size == 0


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 90_000), st.integers(0, 50_000)), max_size=60))
def test_every_stream_keeps_its_bytes_and_their_order(steps: list[tuple[int, int, int]]) -> None:
    backlog = Backlog()
    put: dict[int, bytes] = {}
    got: dict[int, bytes] = {}

    def take(budget: int) -> None:
        for _, _, stream, payload in frames(backlog.take(budget)):
            got[stream] = got.get(stream, b"") + payload

    for number, (stream, size, budget) in enumerate(steps):
        payload = bytes([number % 251]) * size
        backlog.push(DATA, 0, stream, payload)
        put[stream] = put.get(stream, b"") + payload
        if budget > 20_000:
            take(budget)
    while backlog.size:
        before = backlog.size
        take(10_000)
        assert backlog.size < before
        assert 0 <= backlog.small <= backlog.size
        assert backlog.small == sum(queue.size for queue in backlog._queues.values() if not queue.bulk)
    assert got == put
