import math

import pytest

from proxy.retry import MEMORY, PER_SECOND, SHARE, Budget, Kept, is_worth_while, may_run_twice
from sdk.errors import Status
from sdk.head import IDEMPOTENT, STREAMING, CallHead, pack_call_head
from sdk.wire.frame import NO_DEADLINE, Fate, Reset, pack_open


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
def test_methods_of_http_that_may_be_repeated_may_run_twice(method: str) -> None:
    assert may_run_twice(CallHead("shop", "/", "http", metadata=("accept", "GET", ":method", method)))


@pytest.mark.parametrize(
    "head",
    [
        CallHead("shop", "/", "http", metadata=(":method", "POST", "x", "GET")),
        CallHead("shop", "/", "http", metadata=(":method", "PATCH")),
        CallHead("shop", "/", "http", metadata=(":method", "get")),
        CallHead("shop", "/", "http"),
        CallHead("shop", "/", "http", metadata=(":method", "GET", ":upgrade", "websocket")),
        CallHead("shop", "/", "grpc", metadata=(":method", "GET")),
        CallHead("shop", "Shop.Get", flags=STREAMING),
        CallHead("shop", "", "tcp"),
    ],
    ids=["POST", "PATCH", "other case", "none", "upgrade", "grpc", "rpc", "tcp"],
)
def test_other_calls_may_run_once_unless_they_are_marked(head: CallHead) -> None:
    assert not may_run_twice(head)
    assert may_run_twice(head._replace(flags=head.flags | IDEMPOTENT))


def test_who_is_not_there_may_be_somewhere_else() -> None:
    for fate in Fate:
        for over_link in (False, True):
            assert is_worth_while(Reset(Status.UNAVAILABLE, fate, ""), over_link=over_link)


@pytest.mark.parametrize("status", [Status.NOT_FOUND, Status.RESOURCE_EXHAUSTED])
def test_a_node_that_has_no_instance_or_no_room_left_is_not_the_only_one(status: Status) -> None:
    assert is_worth_while(Reset(status, Fate.NOT_REACHED, ""), over_link=True)
    assert not is_worth_while(Reset(status, Fate.NOT_REACHED, ""), over_link=False)
    assert not is_worth_while(Reset(status, Fate.MAY_HAVE_RUN, ""), over_link=True)


def test_what_is_the_calls_own_fault_is_so_everywhere() -> None:
    others = set(Status) - {Status.UNAVAILABLE, Status.NOT_FOUND, Status.RESOURCE_EXHAUSTED}
    assert not any(is_worth_while(Reset(status, Fate.NOT_REACHED, ""), over_link=True) for status in others)


def test_what_is_kept_knows_its_size_and_head() -> None:
    head = CallHead("greeter", "Greeter.Hello")
    kept = Kept(pack_open(3, bytes(16), NO_DEADLINE, pack_call_head(head), b"body"))
    assert kept.head == head
    before = kept.size
    kept.body += b"more"
    kept.trailers = b"12345"
    assert kept.size == before + 9


# The budget.


def spend_all(budget: Budget, now: float) -> int:
    count = 0
    while budget.spend(now):
        count += 1
    return count


def test_a_node_without_calls_has_ten_seconds_worth_at_first_and_ten_each_second() -> None:
    budget = Budget()
    assert spend_all(budget, 50.0) == PER_SECOND * MEMORY
    assert spend_all(budget, 50.0) == 0
    assert sum(spend_all(budget, 50.0 + step / 10) for step in range(1, 51)) == pytest.approx(50, abs=2)
    assert budget.spent == pytest.approx(150, abs=2)


def test_calls_pay_a_fifth() -> None:
    budget = Budget()
    spend_all(budget, 0.0)
    spent = 0
    for step in range(1, 101):
        budget.calls += 100
        spent += spend_all(budget, step / 10)
    assert spent == pytest.approx(SHARE * 10_000 + PER_SECOND * 10, rel=0.02)


def test_what_is_not_used_is_no_more_than_ten_seconds_worth_however_long_it_was_quiet() -> None:
    for step in (0.05, 1.0, 500.0):
        budget = Budget()
        budget.fill(0.0)
        now = 0.0
        while now < 500.0:
            now += step
            budget.calls += int(100 * step)
            budget.fill(now)
        assert spend_all(budget, now) == pytest.approx((SHARE * 100 + PER_SECOND) * MEMORY, rel=0.02)


def test_time_that_stands_still_or_goes_back_gives_nothing() -> None:
    budget = Budget()
    spend_all(budget, 5.0)
    budget.calls += 1000
    assert not budget.spend(5.0)
    assert not budget.spend(4.0)
    assert not math.isnan(budget._left)
    assert budget.spend(5.001)
