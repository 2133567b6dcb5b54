"""Records that people write."""

from typing import Any

import pytest

from mesh.offer import parse_offer, parse_ttl, parse_withdrawal
from sdk.errors import BadRequest


def record(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "web", "nodes": list(nodes), **more}


def node(**more: Any) -> dict[str, Any]:
    return {"id": "web-1", "address": "h:1", **more}


def test_a_record_of_go_micro_is_taken_without_a_word() -> None:
    offer = parse_offer(
        record(
            node(metadata={"broker": "http", "protocol": "grpc", "registry": "etcd", "server": "grpc"}, port=0),
            version="1.0",
            metadata=None,
            endpoints=[{"name": "A.B", "request": {"name": "R", "type": "R", "values": None}, "metadata": {}}],
            options={"ttl": 0},
        )
    )
    assert [(each.id, each.address) for each in offer.service.instances] == [("web-1", "h:1")]
    assert (offer.service.version, offer.ttl, offer.notes) == ("1.0", None, ())


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (record(), "has no instance"),
        (record(node(), node(address="h:2")), "two of its nodes have the id 'web-1'"),
        (record(node(address="0.0.0.0:80")), "where one listens"),
        (record(node(address="::", port=80)), "where one listens"),
        (record(node(), name="web\n"), "name holds characters that do not print"),
        (record(node(), version="\x1b[31m"), "version holds characters"),
        (record(node(metadata={"check": "smoke"})), "metadata of web-1: check is 'smoke'"),
        (record(node(), options={"ttl": -1}), "options.ttl"),
    ],
)
def test_what_nobody_could_use_is_refused(written: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest, match=None) as caught:
        parse_offer(written)
    assert says in caught.value.detail


def test_what_was_most_likely_meant_otherwise_is_said() -> None:
    notes = parse_offer(record(node(metdata={}, metadata={"protocol": "HTTP"}), ttl=3)).notes
    assert len(notes) == 2
    assert "'metdata', 'ttl'" in notes[0]
    assert "protocol is 'HTTP'" in notes[1]


def test_ids_are_enough_to_take_instances_away_and_mistakes_do_no_harm() -> None:
    service = parse_withdrawal(record({"id": "a"}, node(metadata={"check": "smoke"}), version="2"))
    assert [instance.id for instance in service.instances] == ["a", "web-1"]
    refused: list[Any] = [record(), record({"address": "h:1"}), [], {"name": "web", "nodes": 1}]
    for wrong in [*refused, {"name": "web", "nodes": ["a"]}]:
        with pytest.raises(BadRequest):
            parse_withdrawal(wrong)


@pytest.mark.parametrize(("options", "ttl"), [(None, None), ({}, None), ({"ttl": 0}, None), ({"ttl": 1.5}, 1.5)])
def test_a_time_to_live_is_in_seconds_and_may_be_left_out(options: object, ttl: float | None) -> None:
    assert parse_ttl(options) == ttl


@pytest.mark.parametrize("options", [{"ttl": "60"}, {"ttl": True}, {"ttl": -1}, {"ttl": 1e9}, {"ttl": float("nan")}, 5])
def test_what_is_no_time_to_live_is_refused(options: object) -> None:
    with pytest.raises(BadRequest, match="number of seconds"):
        parse_ttl(options)
