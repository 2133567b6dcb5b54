import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from sdk.errors import TooManyRequests
from sdk.wrappers import limiting
from sdk.wrappers.ratelimit import TokenBucket
from tests.sdk.wrappers.calls import going_well, incoming, outgoing


async def test_a_burst_passes_then_so_many_a_second_and_the_error_says_when(autojump_clock: MockClock) -> None:
    limit = limiting(2, burst=3)
    for _ in range(3):
        assert await limit(incoming(), going_well) == "well"
    with pytest.raises(TooManyRequests, match=r"greeter Greeter\.Hello: more than 2 calls.* in 0\.500 s"):
        await limit(outgoing(), going_well)
    await trio.sleep(0.5)
    await limit(incoming(), going_well)
    with pytest.raises(TooManyRequests):
        await limit(incoming(), going_well)
    await trio.sleep(100)
    for _ in range(3):  # a long pause saves up no more than the burst
        await limit(incoming(), going_well)
    with pytest.raises(TooManyRequests):
        await limit(incoming(), going_well)


@given(st.floats(0.1, 1000), st.integers(1, 100), st.lists(st.floats(0, 10), min_size=1, max_size=100))
def test_in_any_time_no_more_pass_than_the_burst_and_what_the_rate_gives(
    rate: float, burst: int, pauses: list[float]
) -> None:
    bucket, now, passed = TokenBucket(rate, burst), 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        passed += not wait
        assert wait <= 1 / rate + 1e-9
    assert passed <= burst + (now - pauses[0]) * rate + 1e-6
    assert passed >= min(burst, len(pauses))


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0), (math.inf, 1), (math.nan, 1)])
def test_numbers_that_make_no_sense_are_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="calls a second"):
        limiting(rate, burst=burst)
