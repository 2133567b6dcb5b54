from mesh.cli.explain import explanation

CHOSEN = {
    "node": "idc", "name": "c", "standing": "network", "chosen": True, "why": "none is cheaper", "versions": ["1", "2"],
    "protocols": ["grpc"], "instances": 3, "weight": 2, "path": ["idb", "idc"], "names": ["b", "c"],
    "links": [
        {"from": "a", "to": "b", "cost": 1, "delay": 0, "loss": 0, "price": 0},
        {"from": "b", "to": "c", "cost": 32, "delay": 12, "loss": 12, "price": 7},
    ],
    "cost": 33, "spare": ["d", "c"], "changed_s": 12.3,
}  # fmt: skip
FAR = CHOSEN | {"name": "bell\a", "chosen": False, "why": "too far", "links": [], "weight": 3, "protocols": []}


SHOWN = """\
x: 2 candidates, of which 1 takes calls

* c idc
    chosen: none is cheaper
    path      b > c, cost 33: a-b 1; b-c 1 + 12 for delay + 12 for loss + 7 for price
    spare     d > c
    instances 3, 2 can be called
    versions  1, 2, speaking grpc
    changed   12 s ago

  bell\\x07 idc
    not chosen: too far
    instances 3
    versions  1, 2, speaking nothing
    changed   12 s ago"""


def test_each_candidate_is_shown_with_its_path_its_terms_and_the_reason() -> None:
    assert explanation({"service": "x", "candidates": [CHOSEN, FAR], "gateway": ""}) == SHOWN


def test_a_service_that_only_a_gateway_may_know_is_said_to_go_there() -> None:
    assert explanation({"service": "x", "candidates": [], "gateway": "g"}) == (
        "nobody offers x; calls go to the gateway g"
    )


def test_it_says_when_nobody_takes_calls() -> None:
    text = explanation({"service": "x", "candidates": [FAR], "gateway": ""})
    assert text.startswith("x: 1 candidate, of which none take calls")
