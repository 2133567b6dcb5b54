"""The clock of tests with whole nodes."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def fast_clock() -> MockClock:
    """Jumps when nothing happens for a millisecond: long enough for bytes to cross the loopback interface."""
    return MockClock(autojump_threshold=0.001)
