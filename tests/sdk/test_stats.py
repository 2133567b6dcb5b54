from random import Random

import pytest

from sdk.stats import MOST_MICROSECONDS, EndpointStats, Latencies, _lower


@pytest.mark.parametrize("microseconds", [*range(300), 999, 1000, 4095, 4096, 10**6, 10**9, MOST_MICROSECONDS])
def test_a_latency_falls_into_the_bucket_that_holds_it_and_buckets_are_narrow(microseconds: int) -> None:
    latencies = Latencies()
    latencies.add((microseconds + 0.5) / 1e6)
    [bucket] = [bucket for bucket, count in enumerate(latencies.counts) if count]
    assert _lower(bucket) <= microseconds < _lower(bucket + 1)
    assert _lower(bucket + 1) - _lower(bucket) <= max(1, _lower(bucket) / 8)


def test_buckets_lie_side_by_side() -> None:
    latencies = Latencies()
    bounds = [_lower(bucket) for bucket in range(len(latencies.counts) + 1)]
    assert bounds == sorted(set(bounds))
    assert (bounds[0], bounds[-1]) == (0, 1 << 32)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_percentiles_are_within_six_percent(share: float) -> None:
    random = Random(7)
    values = sorted(random.lognormvariate(-7, 2) for _ in range(10_000))
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    assert latencies.percentile(share) == pytest.approx(values[int(share * len(values)) - 1], rel=0.065, abs=1e-6)


def test_a_percentile_is_never_over_the_longest_and_none_without_answers() -> None:
    latencies = Latencies()
    assert latencies.percentile(0.99) == 0.0
    latencies.add(1.0)
    latencies.add(10_000.0)
    assert latencies.longest == 10_000.0
    assert latencies.percentile(0.5) == pytest.approx(1.0, rel=0.065)
    assert latencies.percentile(0.99) <= 10_000.0


def test_counters_are_told_with_times_in_seconds() -> None:
    stats = EndpointStats()
    stats.requests = 3
    stats.errors = 1
    for _ in range(3):
        stats.latencies.add(0.002)
    told = stats.to_json()
    assert (told["requests"], told["errors"], told["max"]) == (3, 1, 0.002)
    assert told["p50"] == told["p99"] == pytest.approx(0.002, rel=0.065)
    [(bound, count)] = told["histogram"]
    assert (bound, count) == (pytest.approx(0.002, rel=0.13), 3)
