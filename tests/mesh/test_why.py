from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from mesh.why import explain, goes_to_gateway
from proxy.balance import Balancer, Groups, healthy_tier
from router.candidates import Candidate, Standing
from router.linkstate import LinkTerms
from sdk.selector import EJECT_AFTER, Load

NOW = 100.0


def candidate(name: str, standing: Standing = Standing.NETWORK, cost: int = 1, **more: Any) -> Candidate:
    values = {"path": (name,), "names": (name,), "links": (("me", name, LinkTerms(delay=cost - 1)),), **more}
    return Candidate(
        router=name, name=f"name of {name}", standing=standing, versions=("1",), protocols=("grpc",), instances=2,
        weight=2, cost=cost, changed=90.0, **values,
    )  # fmt: skip


def failed(seconds: float, *, probed: bool = False) -> Load:
    """What is known of one that failed and is tried again after so many seconds, or at this moment."""
    load = Load()
    load.failures, load.ejected_until = EJECT_AFTER, NOW + seconds
    if probed:
        load.probe(NOW)
    return load


def judged(
    *candidates: Candidate, loads: dict[str, Load] | None = None, down: str = "", near: Sequence[str] = (), **more: bool
) -> dict[str, tuple[bool, str]]:
    found = explain(
        candidates,
        now=NOW,
        linked={each.path[0] for each in candidates if each.path} - set(down),
        near=near,
        load=lambda each: (loads or {}).get(each.router, Load()),
        **({"own": False, "here": False, "failed_here": False, "settled": True} | more),
    )
    return {record["node"]: (record["chosen"], record["why"]) for record in found}


def test_this_environment_comes_first() -> None:
    found = judged(candidate("here", Standing.LOCAL, path=()), candidate("far"), here=True)
    assert found["here"] == (True, "instances of this environment come first")
    assert found["far"] == (False, "there are instances in this environment: it is called when there are none")


def test_instances_here_that_cannot_be_called_keep_nobody_from_going_elsewhere() -> None:
    found = judged(candidate("here", Standing.LOCAL, path=()), candidate("far"))
    assert found["here"] == (False, "its instances speak grpc only, which this node cannot call yet")
    assert found["far"] == (True, "none is cheaper")


def test_what_every_node_has_of_its_own_is_answered_by_it() -> None:
    found = judged(candidate("here", Standing.LOCAL, path=()), own=True)
    assert found["here"] == (True, "every node answers that itself")


def test_the_cheapest_tier_takes_the_calls() -> None:
    found = judged(candidate("a", cost=5), candidate("b", cost=36), candidate("c", cost=37))
    assert found["a"] == (True, "none is cheaper")
    assert found["b"] == (True, "it costs 31 more than the cheapest, which counts as alike")
    assert found["c"] == (False, "it costs 32 more than the cheapest: it is called when no cheaper one is left")


def test_who_has_failed_waits() -> None:
    found = judged(candidate("a"), candidate("b"), loads={"b": failed(12.4)})
    assert found["a"] == (True, "none is cheaper")
    assert found["b"] == (False, "it failed several times in a row: it is tried again in 13 s")
    found = judged(candidate("a"), candidate("b"), loads={"b": failed(-1, probed=True)})
    assert found["b"] == (False, "it failed several times in a row: a call that tries it is under way")
    found = judged(candidate("a"), candidate("b"), loads={"b": failed(-1)})
    assert found["b"] == (True, "none is cheaper"), "its time is over"


def test_no_more_than_half_wait() -> None:
    but = "; it failed several times in a row, but no more than half of those alike are passed over"
    assert judged(candidate("a"), loads={"a": failed(9)})["a"] == (True, f"none is cheaper{but}")
    three = {"a": failed(9), "b": failed(3), "c": failed(6)}
    found = judged(candidate("a"), candidate("b"), candidate("c", cost=2), loads=three)
    assert found["a"] == (False, "it failed several times in a row: it is tried again in 9 s")
    assert found["b"] == (True, f"none is cheaper{but}")
    assert found["c"] == (True, f"it costs 1 more than the cheapest, which counts as alike{but}")


def test_where_all_of_a_tier_have_failed_the_next_healthy_one_takes_the_calls() -> None:
    tiers = candidate("a"), candidate("b", cost=40), candidate("c", cost=80)
    found = judged(*tiers, loads={"a": failed(9)})
    assert found["a"] == (False, "it failed several times in a row: it is tried again in 9 s")
    assert found["b"] == (True, "none is cheaper that has not failed several times in a row")
    assert found["c"] == (False, "it costs 40 more than the cheapest: it is called when no cheaper one is left")
    found = judged(*tiers, loads={name: failed(9) for name in "abc"})
    assert [found[name][0] for name in "abc"] == [True, False, False]


def test_instances_here_that_have_failed_leave_the_calls_to_others_where_there_are_some() -> None:
    here = candidate("here", Standing.LOCAL, path=())
    found = judged(here, candidate("far"), here=True, failed_here=True)
    assert found["here"] == (
        False, "its instances here failed several times in a row: others are called until one answers"
    )  # fmt: skip
    assert found["far"] == (True, "none is cheaper")
    for far in ([], [candidate("far")]):
        found = judged(here, *far, here=True, failed_here=True, loads={"far": failed(9)})
        assert found["here"] == (True, "instances of this environment come first")
        assert not any(chosen for node, (chosen, _) in found.items() if node == "far")


def test_a_node_behind_a_link_that_is_down_takes_no_calls_unless_there_is_a_spare_path() -> None:
    found = judged(candidate("a"), candidate("b", cost=40), down="a")
    assert found["a"] == (False, "the first link on the way has just gone down")
    assert found["b"] == (True, "none is cheaper")
    found = judged(candidate("a", spare=("x", "a")), candidate("b", cost=40), down="a")
    assert found["a"] == (
        True, "none is cheaper; the first link on the way has just gone down, so calls take the spare path"
    )  # fmt: skip
    assert not found["b"][0]


def test_who_cannot_be_called_is_told_why() -> None:
    against = [each for each in Standing if each not in (Standing.LOCAL, Standing.NETWORK)]
    behind = candidate("closed", Standing.TOO_FAR, path=())
    others = [candidate(each.value, each, cost=1, path=()) for each in against]
    found = judged(candidate("good", cost=50), behind, *others, near=["closed"])
    assert found["good"] == (True, "none is cheaper")
    assert found["too_far"] == (False, "it is more than three links away")
    assert found["closed"] == (False, "every way of at most three links leads through nodes that carry no calls")
    assert found["unreachable"] == (False, "no links lead there at present")
    assert found["not_callable"] == (False, "its instances speak nothing that nodes can call (mucp only)")
    assert found["not_imported"] == (False, "--import of this node keeps the service out")
    assert len(found) == len(against) + 2


def test_a_path_that_is_not_chosen_yet_is_no_sign_of_a_node_that_carries_nothing() -> None:
    found = judged(candidate("new", Standing.TOO_FAR, path=()), near=["new"], settled=False)
    assert found["new"] == (False, "paths are being chosen at this moment, and there is none to it yet")


@pytest.mark.parametrize("seed", range(30))
def test_those_it_names_are_those_that_are_called(seed: int) -> None:
    random = Random(seed)
    candidates = sorted((candidate(name, cost=random.randint(1, 60)) for name in "abcdef"), key=lambda each: each.cost)
    balancer = Balancer(random)
    for each in candidates:
        if random.random() < 0.5:
            load = balancer.load(each.router)
            load.failures, load.ejected_until = EJECT_AFTER, NOW + random.uniform(-1, 9)
    found = explain(
        candidates, now=NOW, own=False, here=False, failed_here=False, linked="abcdef", near="abcdef", settled=True,
        load=lambda each: balancer.load(each.router),
    )  # fmt: skip
    tier = healthy_tier(candidates, lambda each: balancer.load(each.router), NOW)
    groups: Groups[Candidate, Candidate] = Groups(balancer, among=list, key=lambda _, each: each.router)
    group = groups.of("x", tier)
    # One that goes to the better of two is asked many times: whoever may be chosen is, before long.
    called = set()
    until = [load.ejected_until for load in group.loads]
    for _ in range(300):
        for load, ends in zip(group.loads, until, strict=True):
            load.latency, load.ejected_until = random.random(), ends
        called.add(balancer.choose(group, NOW)[0].router)
    assert called == {record["node"] for record in found if record["chosen"]}


def test_a_gateway_takes_what_nobody_offers_as_far_as_this_node_is_concerned() -> None:
    assert goes_to_gateway([])
    assert goes_to_gateway([candidate("a", Standing.NOT_IMPORTED), candidate("b", Standing.NOT_CALLABLE)])
    for standing in (Standing.LOCAL, Standing.NETWORK, Standing.TOO_FAR, Standing.UNREACHABLE):
        assert not goes_to_gateway([candidate("a", Standing.NOT_IMPORTED), candidate("b", standing)])


def test_a_record_has_the_path_with_its_terms_and_when_it_changed() -> None:
    [record] = explain(
        [candidate("a", cost=13)], now=NOW, own=False, here=False, failed_here=False, linked="a", near="a",
        settled=True, load=lambda _: Load(),
    )  # fmt: skip
    assert record["links"] == [{"from": "me", "to": "a", "cost": 13, "delay": 12, "loss": 0, "price": 0}]
    assert (record["names"], record["cost"], record["changed_s"], record["standing"]) == (["a"], 13, 10.0, "network")
