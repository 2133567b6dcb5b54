"""Which origin, and which instance."""

from random import Random
from typing import NamedTuple

from proxy.balance import FORGET_ABOVE, TIER, Balancer, cheapest_tier


class Way(NamedTuple):
    cost: int


def test_costs_that_differ_by_less_than_a_tier_are_alike() -> None:
    ways = [Way(1), Way(TIER), Way(1 + TIER), Way(500)]
    assert list(cheapest_tier(ways)) == ways[:2]
    assert list(cheapest_tier(ways[:2])) == ways[:2]
    assert list(cheapest_tier(ways[3:])) == ways[3:]


def test_an_idle_target_is_preferred_to_one_that_is_busy() -> None:
    balancer = Balancer(Random(1))
    balancer.load("busy").started()
    assert {balancer.choose(["busy", "idle"], 0.0)[0] for _ in range(20)} == {1}


def test_a_fast_target_is_preferred_to_a_slow_one() -> None:
    balancer = Balancer(Random(1))
    balancer.load("slow").observe(10.0, ok=True, began=9.0)
    balancer.load("fast").observe(10.0, ok=True, began=9.99)
    assert {balancer.choose(["slow", "fast"], 10.0)[0] for _ in range(20)} == {1}


def test_calls_spread_over_all_who_are_alike() -> None:
    balancer = Balancer(Random(1))
    keys = [f"instance {number}" for number in range(8)]
    for _ in range(80):
        balancer.choose(keys, 0.0)[1].started()
    pending = [balancer.load(key).pending for key in keys]
    assert sum(pending) == 80
    assert min(pending) >= 7


def test_what_is_chosen_is_the_load_that_is_kept() -> None:
    balancer = Balancer(Random(1))
    index, load = balancer.choose([b"one", b"two"], 0.0)
    assert balancer.load([b"one", b"two"][index]) is load


def test_an_idle_target_is_forgotten_when_there_are_many_and_a_busy_one_is_not() -> None:
    balancer = Balancer(Random(1))
    busy, idle = balancer.load("busy"), balancer.load("idle")
    busy.started()
    for number in range(FORGET_ABOVE):
        balancer.load(f"instance {number}")
    assert balancer.load("busy") is busy
    assert balancer.load("idle") is not idle
