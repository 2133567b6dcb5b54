"""What is counted of an endpoint: requests, errors, and how long answers took, at a fraction of a microsecond a call.

Latencies go into buckets whose width grows with them, eight for each power of two, as in HdrHistogram (Gil Tene): any
percentile is known to within 6 percent, for one addition to a list and 2 KiB an endpoint. Keeping samples instead would
cost more and know the slowest calls least.
"""

from typing import Any

FINENESS = 3
"""Each power of two has 2 ** FINENESS buckets."""

MOST_MICROSECONDS = (1 << 32) - 1
"""Longer answers, over 71 minutes, count as this."""

_BUCKETS = (32 - FINENESS + 1) << FINENESS


class Latencies:
    """A histogram of how long answers took."""

    __slots__ = ("counts", "longest")

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS
        """Answers in each bucket."""
        self.longest = 0.0
        """Seconds of the slowest one."""

    def add(self, seconds: float) -> None:
        """Counts one answer."""
        self.longest = max(self.longest, seconds)
        microseconds = min(int(seconds * 1_000_000), MOST_MICROSECONDS)
        shift = microseconds.bit_length() - FINENESS - 1
        self.counts[(shift << FINENESS) + (microseconds >> shift) if shift > 0 else microseconds] += 1

    def percentile(self, share: float) -> float:
        """Seconds within which this share of the answers came, between 0 and 1; 0.0 when there were none."""
        wanted = share * sum(self.counts)
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min((_lower(bucket) + _lower(bucket + 1)) / 2_000_000, self.longest)
        return 0.0

    def buckets(self) -> list[tuple[float, int]]:
        """The upper bound of each bucket that has any, in seconds, and how many it has."""
        return [(_lower(bucket + 1) / 1_000_000, count) for bucket, count in enumerate(self.counts) if count]


class EndpointStats:
    """The counters of one endpoint."""

    __slots__ = ("errors", "latencies", "requests")

    def __init__(self) -> None:
        self.requests = 0
        """Calls that were answered, in whatever way, or whose caller left."""
        self.errors = 0
        """Those of them that ended in an error, or in no answer before the deadline."""
        self.latencies = Latencies()
        """How long they took, from the call's arrival to its end; for a stream, as long as it was open."""

    def to_json(self) -> dict[str, Any]:
        """As `Debug.Stats` tells it; times are in seconds."""
        latencies = self.latencies
        return {
            "requests": self.requests,
            "errors": self.errors,
            "p50": latencies.percentile(0.5),
            "p90": latencies.percentile(0.9),
            "p99": latencies.percentile(0.99),
            "max": latencies.longest,
            "histogram": [list(bucket) for bucket in latencies.buckets()],
        }


def _lower(bucket: int) -> int:
    """The fewest microseconds that fall into a bucket."""
    shift = max((bucket >> FINENESS) - 1, 0)
    return (bucket - (shift << FINENESS)) << shift
