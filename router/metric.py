"""What a link costs: the one number by which paths are compared, made of delay, loss and a configured price.

The parts are told in steps, and told anew only when a step has lasted: a number that follows every measurement would
keep the whole network recomputing its paths.
"""

from typing import Final

from .linkstate import LinkTerms

NEAR: Final = 0.010
"""Seconds of round trip below which a link is as good as any; babeld's rtt-min."""
FAR: Final = 0.120
"""Seconds of round trip above which a link is as bad as any; babeld's rtt-max."""
LOSSY: Final = 0.08
"""Share of lost data above which a link is as bad as any: TCP carries next to nothing over one."""
STEPS: Final = 8
"""Delay and loss count in so many steps."""
MOST: Final = 96
"""What the longest delay adds, and what the heaviest loss adds; babeld's max-rtt-penalty."""
PERIOD: Final = 5.0
"""Seconds from one observation to the next."""
LASTING: Final = 2
"""Periods that a step must have lasted before it is told."""
SMOOTHING: Final = 0.3
"""Share of an observation in the smoothed value: half of it is forgotten after two periods, which is ten seconds."""


def delay_cost(delay: float) -> int:
    """What a smoothed round trip adds, in seconds: 0 to 96 in steps of 12.

    The form is babeld's (rtt-min, rtt-max, max-rtt-penalty), which is linear between its two bounds.
    """
    return _steps((delay - NEAR) / (FAR - NEAR))


def loss_cost(loss: float) -> int:
    """What a share of lost data adds, from 0 to 1: 0 to 96 in steps of 12."""
    return _steps(loss / LOSSY)


class LinkMetric:
    """What one link costs, followed over time."""

    def __init__(self, *, delay: float, loss: float = 0.0, price: int = 0) -> None:
        """`delay` is the round trip that is known when the link comes up, in seconds; `price` is configured."""
        self.terms = LinkTerms(delay_cost(delay), loss_cost(loss), price)
        """What is told of it."""
        self._delay = delay
        self._loss = loss
        self._next = self.terms
        self._lasted = 0

    def observe(self, delay: float, loss: float) -> bool:
        """Takes in what was measured, once in a `PERIOD`. Answers whether `terms` are others now."""
        self._delay += SMOOTHING * (delay - self._delay)
        self._loss += SMOOTHING * (loss - self._loss)
        found = LinkTerms(delay_cost(self._delay), loss_cost(self._loss), self.terms.price)
        if found == self.terms:
            self._lasted = 0
            return False
        self._lasted = self._lasted + 1 if found == self._next else 1
        self._next = found
        if self._lasted < LASTING:
            return False
        self.terms = found
        self._lasted = 0
        return True


def _steps(share: float) -> int:
    return int(min(max(share, 0.0), 1.0) * STEPS) * (MOST // STEPS)
