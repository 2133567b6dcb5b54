from collections import Counter
from random import Random

import pytest

from sdk.selector import EJECT_AFTER, Load
from sdk.strategy import Strategy, least_loaded, round_robin, sticky, uniform

NAMES = [f"10.0.0.{n}:80" for n in range(5)]


def times(strategy: Strategy, loads: list[Load], count: int, seed: int = 1) -> Counter[int]:
    random = Random(seed)
    return Counter(strategy(loads, random, 0.0) for _ in range(count))


def by_key(key: str, names: list[str], loads: list[Load] | None = None, now: float = 0.0) -> str:
    return names[sticky(key, names, loads or [Load() for _ in names], now)]


def eject(load: Load) -> None:
    for _ in range(EJECT_AFTER):
        load.observe(0.0, ok=False, began=0.0)


def test_chance_gives_each_about_its_share() -> None:
    counted = times(uniform, [Load() for _ in range(4)], 4000)
    assert all(900 < counted[index] < 1100 for index in range(4))


def test_turns_give_each_exactly_its_share_in_one_order() -> None:
    loads = [Load() for _ in range(3)]
    assert [round_robin(loads, Random(1), 0.0) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_turns_go_on_where_they_were_when_targets_come_and_go() -> None:
    loads = [Load() for _ in range(3)]
    assert [round_robin(loads, Random(1), 0.0) for _ in range(2)] == [0, 1]
    left = [loads[0], loads[2], Load()]
    assert [round_robin(left, Random(1), 0.0) for _ in range(4)] == [1, 2, 0, 1]


def test_the_least_loaded_takes_the_call_by_its_weight_and_equals_share() -> None:
    loads = [Load(), Load(2.0), Load(2.0)]
    for _ in range(2):
        loads[1].started()
    loads[0].started()
    assert times(least_loaded, loads, 100) == {2: 100}
    loads[2].pending = 2
    counted = times(least_loaded, loads, 3000)
    assert all(800 < counted[index] < 1200 for index in range(3))


def test_a_key_stays_where_it_is_while_that_is_there_and_keys_spread() -> None:
    keys = [f"user {n}" for n in range(2000)]
    before = {key: by_key(key, NAMES) for key in keys}
    assert all(300 < count < 500 for count in Counter(before.values()).values())
    assert {key: by_key(key, NAMES[::-1]) for key in keys} == before  # in whatever order the registry tells
    fewer = NAMES[:2] + NAMES[3:]
    after = {key: by_key(key, fewer) for key in keys}
    moved = {key for key in keys if after[key] != before[key]}
    assert moved == {key for key in keys if before[key] == NAMES[2]}
    assert {after[key] for key in moved} == set(fewer)


def test_a_key_goes_elsewhere_while_its_target_is_ejected() -> None:
    loads = [Load() for _ in NAMES]
    home = by_key("k", NAMES)
    eject(loads[NAMES.index(home)])
    away = by_key("k", NAMES, loads)
    assert away == by_key("k", [name for name in NAMES if name != home])
    assert by_key("k", NAMES, loads, now=2.0) == home
    assert by_key("k", NAMES, loads, now=2.0) == away  # its probe is under way


def test_a_key_may_be_any_text() -> None:
    assert by_key("\udcff", NAMES) in NAMES


@pytest.mark.parametrize("strategy", [uniform, round_robin, least_loaded])
def test_what_is_ejected_is_passed_over_and_probed_with_one_call_later(strategy: Strategy) -> None:
    loads = [Load() for _ in range(3)]
    eject(loads[1])
    assert 1 not in times(strategy, loads, 100)
    later = [strategy(loads, Random(seed), 2.0) for seed in range(100)]
    assert later.count(1) == 1
    assert loads[1].probed


@pytest.mark.parametrize("strategy", [uniform, round_robin, least_loaded])
def test_when_all_are_ejected_half_of_them_are_called_all_the_same(strategy: Strategy) -> None:
    loads = [Load() for _ in range(4)]
    for load in loads:
        eject(load)
    assert strategy(loads, Random(1), 0.5) in range(4)
