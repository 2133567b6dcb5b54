"""The clock of tests with whole nodes."""

import math
from typing import Any

import pytest
import trio
from trio.testing import MockClock

IDLE = 0.001
"""Seconds without any event, which are long enough for bytes to cross the loopback interface."""


@pytest.fixture
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """Jumps when nothing happens for a millisecond and no thread is at work: threads take as long as they like."""
    clock, in_thread, at_work = MockClock(autojump_threshold=IDLE), trio.to_thread.run_sync, 0

    async def run_sync(*args: Any, **options: Any) -> Any:
        nonlocal at_work
        at_work += 1
        clock.autojump_threshold = math.inf
        try:
            return await in_thread(*args, **options)
        finally:
            at_work -= 1
            if not at_work:
                clock.autojump_threshold = IDLE

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    return clock
