from random import Random
from typing import Any

import pytest

from tunnel.transport.rough import SEGMENT, OneWay, Quality


class Fate(Random):
    """Luck as the test says: which segments are lost, one after the other, and none after these."""

    def __init__(self, *lost: bool) -> None:
        super().__init__(0)
        self._lost = list(lost)

    def random(self) -> float:
        return 0.0 if self._lost and self._lost.pop(0) else 0.999


def arrivals(way: OneWay, segments: float, *, now: float = 0.0, behind: int = 0, **line: Any) -> list[float]:
    """When each segment arrives, over a line with a delay of 100 ms one way."""
    sent = way.send(int(segments * SEGMENT), now=now, behind=behind, delay=0.1, quality=Quality(**line))
    assert [at for at, _ in sent] == sorted({at for at, _ in sent})
    assert sum(size for _, size in sent) == int(segments * SEGMENT)
    return [at for at, size in sent for _ in range(-(-size // SEGMENT))]


def test_bytes_leave_one_segment_after_the_other() -> None:
    way = OneWay(Random(0))
    assert arrivals(way, 2.5, rate=SEGMENT * 10) == pytest.approx([0.2, 0.3, 0.35])
    assert arrivals(way, 1, now=0.1, rate=SEGMENT * 10) == pytest.approx([0.45]), "behind those that still leave"
    assert arrivals(way, 1, now=1.0, rate=SEGMENT * 10) == pytest.approx([1.2])


def test_a_lost_segment_with_three_behind_it_comes_a_round_trip_later_and_all_behind_it_wait() -> None:
    assert arrivals(OneWay(Fate(False, True)), 6, loss=0.5) == pytest.approx([0.1, *[0.3] * 5])
    assert arrivals(OneWay(Fate(True)), 1, behind=3 * SEGMENT, loss=0.5) == pytest.approx([0.3])


def test_a_lost_segment_with_fewer_behind_it_waits_for_the_timer() -> None:
    assert arrivals(OneWay(Fate(False, True)), 4, loss=0.5) == pytest.approx([0.1, *[0.3] * 3])
    for delay, late in ((0.01, 0.21), (1.0, 3.0)):
        way = OneWay(Fate(True))
        [(at, _)] = way.send(1, now=0.0, behind=0, delay=delay, quality=Quality(loss=0.5))
        assert at == pytest.approx(late)


def test_the_timer_doubles_with_each_loss_of_what_was_sent_again() -> None:
    assert arrivals(OneWay(Fate(True, True, True)), 1, loss=0.5) == pytest.approx([0.1 + 0.2 + 0.4 + 0.8])
    fast = arrivals(OneWay(Fate(True, True, True)), 1, behind=3 * SEGMENT, loss=0.5)
    assert fast == pytest.approx([0.1 + 0.2 + 0.2 + 0.4])
    assert arrivals(OneWay(Fate(*[True] * 12)), 1, loss=0.5)[0] == pytest.approx(0.1 + 0.2 * 1023 + 120 + 120)


def test_what_is_sent_again_takes_its_share_of_the_rate() -> None:
    way = OneWay(Fate(True, True))
    arrivals(way, 1, loss=0.5, rate=SEGMENT * 10)
    assert way.free == pytest.approx(0.3)


def test_jitter_spreads_around_the_delay_and_keeps_the_order() -> None:
    way = OneWay(Random(0))
    single = [arrivals(way, 1, now=float(now), jitter=0.05)[0] - now for now in range(1000)]
    assert min(single) == pytest.approx(0.05, abs=0.001)
    assert max(single) == pytest.approx(0.15, abs=0.001)
    assert sum(single) / 1000 == pytest.approx(0.1, abs=0.003)
    train = arrivals(OneWay(Random(0)), 50, jitter=0.05)
    assert 0.05 <= train[0] < train[-1] <= 0.15
    assert min(arrivals(OneWay(Random(seed)), 1, jitter=5.0)[0] for seed in range(100)) == 0.0


def test_about_as_many_are_lost_as_said() -> None:
    way = OneWay(Random(0))
    late = [arrivals(way, 1, now=float(now), loss=0.05)[0] - now > 0.11 for now in range(0, 20_000, 2)]
    assert sum(late) / len(late) == pytest.approx(0.05, abs=0.01)


def test_connecting_takes_a_round_trip_and_the_first_timer_for_what_is_lost() -> None:
    assert OneWay(Fate(False, False)).connect(delay=0.1, quality=Quality(loss=0.5)) == pytest.approx(0.2)
    assert OneWay(Fate(True, False, True)).connect(delay=0.1, quality=Quality(loss=0.5)) == pytest.approx(0.2 + 1 + 2)


@pytest.mark.parametrize("quality", [{"loss": 1.0}, {"loss": -0.1}, {"rate": 0}, {"jitter": -1.0}])
def test_a_line_that_cannot_be_is_refused(quality: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="line"):
        Quality(**quality)
