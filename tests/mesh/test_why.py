from mesh.why import explain
from router.candidates import Candidate, Standing
from router.linkstate import LinkTerms


def candidate(name: str, standing: Standing = Standing.NETWORK, cost: int = 1) -> Candidate:
    return Candidate(
        router=f"id of {name}", name=name, standing=standing, versions=("1",), protocols=("grpc",), instances=2,
        weight=2, path=(name,), names=(name,), links=(("me", name, LinkTerms(delay=cost - 1)),), cost=cost,
        changed=90.0,
    )  # fmt: skip


def judged(*candidates: Candidate, ejected: dict[str, float] | None = None) -> dict[str, tuple[bool, str]]:
    found = explain(candidates, now=100.0, ejected=lambda each: (ejected or {}).get(each.name, 0.0))
    return {record["name"]: (record["chosen"], record["why"]) for record in found}


def test_this_environment_comes_first() -> None:
    found = judged(candidate("here", Standing.LOCAL), candidate("far"))
    assert found["here"][0]
    assert found["far"] == (False, "there are instances in this environment: it is called when there are none")


def test_the_cheapest_tier_takes_the_calls() -> None:
    found = judged(candidate("a", cost=5), candidate("b", cost=36), candidate("c", cost=37))
    assert found["a"] == (True, "none is cheaper")
    assert found["b"] == (True, "it costs 31 more than the cheapest, which counts as alike")
    assert found["c"] == (False, "it costs 32 more than the cheapest: it is called when no cheaper one is left")


def test_who_has_failed_waits() -> None:
    found = judged(candidate("a"), candidate("b"), ejected={"b": 12.4})
    assert found["a"][0]
    assert found["b"] == (False, "it failed several times in a row: it is tried again in 12 s")


def test_who_cannot_be_called_is_told_why() -> None:
    against = [each for each in Standing if each not in (Standing.LOCAL, Standing.NETWORK)]
    found = judged(candidate("good", cost=50), *(candidate(each.value, each, cost=1) for each in against))
    assert found["good"] == (True, "none is cheaper")
    reasons = {found[each.value] for each in against}
    assert len(reasons) == len(against) == 4
    assert not any(chosen for chosen, _ in reasons)


def test_a_record_has_the_path_with_its_terms_and_when_it_changed() -> None:
    [record] = explain([candidate("a", cost=13)], now=100.0, ejected=lambda _: 0.0)
    assert record["links"] == [{"from": "me", "to": "a", "cost": 13, "delay": 12, "loss": 0, "price": 0}]
    assert (record["names"], record["cost"], record["changed_s"], record["standing"]) == (["a"], 13, 10.0, "network")
