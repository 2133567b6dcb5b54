"""How long a call may take, as HTTP says it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import RemoteProtocolError
from sdk.wire.frame import NO_DEADLINE
from sdk.wire.timeout import format_timeout, parse_timeout_untrusted


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1H", 3_600_000), ("2M", 120_000), ("3S", 3000), ("4m", 4), ("5u", 1), ("5000u", 5), ("6n", 1), ("0S", 0),
     ("99999999H", NO_DEADLINE - 1)],
)  # fmt: skip
def test_a_timeout_is_read_in_every_unit_and_rounded_up(text: str, ms: int) -> None:
    assert parse_timeout_untrusted(text) == ms


@pytest.mark.parametrize("text", ["", "S", "1", "1s", "-1S", "123456789S", "1 S", "\u0661S"])
def test_a_timeout_that_is_none_is_malformed(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="grpc-timeout cannot be read"):
        parse_timeout_untrusted(text)


@given(st.integers(0, 10**8 - 1))
def test_a_timeout_that_is_written_is_read_back(ms: int) -> None:
    assert parse_timeout_untrusted(format_timeout(ms)) == ms


def test_a_timeout_of_days_has_no_more_digits_than_it_may() -> None:
    assert format_timeout(NO_DEADLINE - 1) == "4294967S"
