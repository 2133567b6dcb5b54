"""When bytes arrive that TCP carries over a link that is slow, unsteady and loses some of what it is given.

Nothing is lost to whoever reads: a lost segment is sent again and comes late, and all that is behind it waits for it.
When it is sent again is RFC 5681's fast retransmit (section 3.2) and RFC 6298's timer (section 5), with Linux's
shortest timeout, and the jitter is uniform, as netem's is. What is left out is congestion control: a lossy line
slows nobody down but by its waits. So it gives a transfer more than TCP would get of it, and the peers less rest.
"""

import math
from dataclasses import dataclass
from random import Random
from typing import Final

SEGMENT: Final = 1448
"""Bytes of one segment: an Ethernet frame's, without the headers of IPv4 and TCP and its timestamps."""
DUPLICATES: Final = 3
"""Segments that must arrive behind a lost one for the sender to send it again at once (RFC 5681, section 3.2)."""
SHORTEST_TIMEOUT: Final = 0.2
"""Seconds. RFC 6298 says one (2.4); Linux, and so almost everybody, waits 200 ms."""
FIRST_TIMEOUT: Final = 1.0
"""Seconds until a connection that was not answered is asked for again, when no round trip is known (2.1)."""
LONGEST_TIMEOUT: Final = 120.0
"""Seconds at which the timer stops to double; RFC 6298 (2.5) wants 60 or more, Linux has this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What is bad about a line, besides its delay."""

    jitter: float = 0.0
    """Most seconds by which a segment comes earlier or later than the delay says."""
    loss: float = 0.0
    """Share of the segments that are lost on their way, from 0 to less than 1."""
    rate: float = math.inf
    """Bytes per second that fit through, in each direction, for all connections together."""

    def __post_init__(self) -> None:
        if not 0 <= self.jitter < math.inf:
            raise ValueError(f"the jitter of a line cannot be {self.jitter} s")
        if not 0 <= self.loss < 1:
            raise ValueError(f"a line cannot lose {self.loss} of its segments: from 0 to less than 1 (else sever it)")
        if not self.rate > 0:
            raise ValueError(f"the rate of a line cannot be {self.rate} bytes per second (sever it)")


SMOOTH: Final = Quality()
"""Nothing is bad about it."""


class OneWay:
    """One direction of a rough line. Whatever goes that way leaves through it, one segment after the other."""

    __slots__ = ("_random", "free")

    def __init__(self, random: Random) -> None:
        self._random = random
        self.free = -math.inf
        """When the last segment so far will have left."""

    def send(self, size: int, *, now: float, behind: int, delay: float, quality: Quality) -> list[tuple[float, int]]:
        """Sends so many bytes of one connection. Returns when how many of them arrive, in order, times ascending; what
        was sent before them has to be read before them, however late it comes.

        `behind` are the bytes of the same write that follow as soon as there is room for them.
        """
        arrivals: list[tuple[float, int]] = []
        after = 0.0
        self.free = max(self.free, now)
        for start in range(0, size, SEGMENT):
            length = min(SEGMENT, size - start)
            self.free += length / quality.rate
            left = self.free
            if quality.loss:
                left += self._recovered(length, size - start - length + behind, delay, quality)
            after = max(after, left + self._trip(delay, quality))
            if arrivals and arrivals[-1][0] == after:
                length += arrivals.pop()[1]
            arrivals.append((after, length))
        return arrivals

    def connect(self, *, delay: float, quality: Quality) -> float:
        """Seconds until a connection stands: a segment each way, and the first timer when one of them is lost."""
        seconds, timeout = 0.0, FIRST_TIMEOUT
        while self._lost(quality) or self._lost(quality):
            seconds += timeout
            timeout = min(2 * timeout, LONGEST_TIMEOUT)
        return seconds + self._trip(delay, quality) + self._trip(delay, quality)

    def _recovered(self, length: int, behind: int, delay: float, quality: Quality) -> float:
        """Seconds from the first time a segment is sent to the time when it is not lost."""
        seconds, tries = 0.0, 0
        timeout = max(SHORTEST_TIMEOUT, 2 * delay + 4 * quality.jitter)
        while self._lost(quality):
            self.free += length / quality.rate
            if not tries and behind > (DUPLICATES - 1) * SEGMENT:
                seconds += 2 * delay + DUPLICATES * SEGMENT / quality.rate
            else:
                seconds += timeout
                timeout = min(2 * timeout, LONGEST_TIMEOUT)
            tries += 1
        return seconds

    def _lost(self, quality: Quality) -> bool:
        return self._random.random() < quality.loss

    def _trip(self, delay: float, quality: Quality) -> float:
        if not quality.jitter:
            return delay
        return max(0.0, delay + self._random.uniform(-quality.jitter, quality.jitter))
