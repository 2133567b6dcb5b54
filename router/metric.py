"""What a link costs: the one number by which paths are compared."""

from typing import Final

NEAR: Final = 0.010
"""Seconds of round trip below which a link is as good as any; babeld's rtt-min."""
FAR: Final = 0.120
"""Seconds of round trip above which a link is as bad as any; babeld's rtt-max."""
STEPS: Final = 8
"""The delay counts in so many steps, so that it is told anew only when it has changed much."""
MOST: Final = 96
"""What the longest delay adds; babeld's max-rtt-penalty."""


def link_cost(delay: float) -> int:
    """The cost of a link with this smoothed round trip, in seconds: 1, and 0 to 96 for the delay in steps of 12.

    Each link costs at least 1, so that of two equally fast paths the one with fewer links wins.
    The form is babeld's (rtt-min, rtt-max, max-rtt-penalty), which is linear between its two bounds.
    """
    share = (min(max(delay, NEAR), FAR) - NEAR) / (FAR - NEAR)
    return 1 + int(share * STEPS) * (MOST // STEPS)
