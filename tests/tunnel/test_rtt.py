import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.rtt import RoundTrip


def test_samples_are_smoothed_as_rfc_6298_says() -> None:
    trip = RoundTrip()
    seen = [(trip.srtt, trip.rttvar)]
    for rtt in (0.1, 0.2):
        trip.sample(rtt)
        seen.append((trip.srtt, trip.rttvar))
    srtt, rttvar = 7 / 8 * 0.1 + 1 / 8 * 0.2, 3 / 4 * 0.05 + 1 / 4 * 0.1
    assert seen == [(None, 0), (0.1, 0.05), (pytest.approx(srtt), pytest.approx(rttvar))]


def test_a_near_peer_is_given_two_and_a_half_seconds() -> None:
    trip = RoundTrip()
    assert trip.dead_after(1.0) == 2.5
    trip.sample(0.001)
    assert trip.dead_after(1.0) == 2.5


def test_a_far_peer_is_given_more_time() -> None:
    trip = RoundTrip()
    trip.sample(0.4)
    assert trip.dead_after(1.0) == pytest.approx(4 * 0.4 + 4 * 0.2 + 2 * 1.0)
    for _ in range(200):
        trip.sample(0.4)
    assert trip.dead_after(1.0) == pytest.approx(4 * 0.4 + 2 * 1.0, abs=0.01)


@given(st.lists(st.floats(0, 1000)))
def test_nobody_waits_longer_than_ten_seconds(samples: list[float]) -> None:
    trip = RoundTrip()
    for sample in samples:
        trip.sample(sample)
    assert 2.5 <= trip.dead_after(1.0) <= 10
