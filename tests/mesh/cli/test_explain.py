from mesh.cli.explain import explanation, to_gateway

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
    assert explanation({"service": "x", "candidates": [CHOSEN, FAR], "gateway": None}) == SHOWN


def test_it_says_what_is_left_to_the_gateway() -> None:
    text = explanation({"service": "x", "candidates": [FAR], "gateway": {"node": "g\a", "reachable": True}})
    assert text.endswith("12 s ago\n\ncalls go to the gateway g\\x07")
    assert to_gateway({"node": "g", "reachable": False}) == (
        "calls would go to the gateway g, which cannot be reached at the moment"
    )


def test_it_says_when_nobody_takes_calls() -> None:
    text = explanation({"service": "x", "candidates": [FAR], "gateway": None})
    assert text.startswith("x: 1 candidate, of which none take calls")
