"""Which origin, and which instance."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from proxy.balance import FORGET_ABOVE, TIER, Balancer, Group, Groups, cheapest_tier
from sdk.selector import Load


class Way(NamedTuple):
    cost: int


def group(balancer: Balancer, *keys: str) -> Group[str]:
    groups: Groups[str, str] = Groups(balancer, among=list, key=lambda _, item: item)
    return groups.of("greeter", keys)


def test_costs_that_differ_by_less_than_a_tier_are_alike() -> None:
    ways = [Way(1), Way(TIER), Way(1 + TIER), Way(500)]
    assert list(cheapest_tier(ways)) == ways[:2]
    assert list(cheapest_tier(ways[:2])) == ways[:2]
    assert list(cheapest_tier(ways[3:])) == ways[3:]


def test_an_idle_target_is_preferred_to_one_that_is_busy() -> None:
    balancer = Balancer(Random(1))
    balancer.load("busy").started()
    both = group(balancer, "busy", "idle")
    assert {balancer.choose(both, 0.0)[0] for _ in range(20)} == {"idle"}


def test_a_fast_target_is_preferred_to_a_slow_one() -> None:
    balancer = Balancer(Random(1))
    balancer.load("slow").observe(10.0, ok=True, began=9.0)
    balancer.load("fast").observe(10.0, ok=True, began=9.99)
    both = group(balancer, "slow", "fast")
    assert {balancer.choose(both, 10.0)[0] for _ in range(20)} == {"fast"}


def test_calls_spread_over_all_who_are_alike() -> None:
    balancer = Balancer(Random(1))
    keys = [f"instance {number}" for number in range(8)]
    all_of_them = group(balancer, *keys)
    for _ in range(80):
        balancer.choose(all_of_them, 0.0)[1].started()
    pending = [balancer.load(key).pending for key in keys]
    assert sum(pending) == 80
    assert min(pending) >= 7


def test_what_is_chosen_is_the_load_that_is_kept() -> None:
    balancer = Balancer(Random(1))
    chosen, load = balancer.choose(group(balancer, "one", "two"), 0.0)
    assert balancer.load(chosen) is load


def test_a_group_is_made_again_when_the_table_says_something_else_and_not_before() -> None:
    asked: list[Sequence[str]] = []

    def among(source: Sequence[str]) -> Sequence[str]:
        asked.append(source)
        return source[:1]

    groups = Groups(Balancer(Random(1)), among=among, key=lambda _, item: item)
    before, after = ("one", "two"), ("two", "three")
    assert groups.of("greeter", before).items == ("one",)
    assert groups.of("greeter", before) is groups.of("greeter", before)
    assert groups.of("greeter", after).items == ("two",)
    assert asked == [before, after]


def test_an_idle_target_is_forgotten_when_there_are_many_and_a_busy_one_is_not() -> None:
    balancer = Balancer(Random(1))
    busy, idle = balancer.load("busy"), balancer.load("idle")
    busy.started()
    for number in range(FORGET_ABOVE):
        balancer.load(f"instance {number}")
    assert balancer.load("busy") is busy
    assert balancer.load("idle") is not idle


def test_whoever_is_in_a_group_is_not_counted_twice_however_many_others_come_and_go() -> None:
    balancer = Balancer(Random(1))
    groups: Groups[str, str] = Groups(balancer, among=list, key=lambda _, item: item)
    members = ["one", "other"]
    kept = groups.of("greeter", members)
    for number in range(3 * FORGET_ABOVE):
        balancer.load(f"gone {number}")
    assert [groups.load("greeter", item) for item in members] == kept.loads
    assert len(balancer._loads) <= FORGET_ABOVE


def test_whoever_is_in_a_group_is_not_counted_twice_though_others_are_forgotten_while_it_is_made() -> None:
    balancer = Balancer(Random(1))
    groups: Groups[str, str] = Groups(balancer, among=list, key=lambda _, item: item)
    for number in range(FORGET_ABOVE - 2):
        balancer.load(f"gone {number}")
    members = ["one", "two", "three", "four"]
    made = groups.of("greeter", members)
    assert len(balancer._loads) < FORGET_ABOVE, "nobody was forgotten"
    assert [groups.load("greeter", item) for item in members] == made.loads


def test_more_than_that_with_calls_are_not_looked_through_for_each_new_one() -> None:
    balancer = Balancer(Random(1))
    looks = 0

    def in_use() -> Iterator[Load]:
        nonlocal looks
        looks += 1
        return iter(())

    balancer.remember(in_use)
    for number in range(4 * FORGET_ABOVE):
        balancer.load(f"busy {number}").started()
    assert looks == 2
    assert balancer.load("busy 0").pending == 1
