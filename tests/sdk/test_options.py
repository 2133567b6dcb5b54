import re
from typing import Any

import pytest

from sdk import Client
from sdk.directory import Filter, Target, Targets
from sdk.errors import BadRequest
from sdk.options import Options, Way, split_addresses, way_of
from sdk.strategy import balanced, round_robin


def fixed(addresses: str) -> Targets:
    return Targets([Target(address) for address in split_addresses(addresses)])


def way(defaults: Options | None = None, **options: Any) -> Way:
    return way_of(defaults or {}, options, fixed)  # type: ignore[arg-type]


def test_without_any_option_an_instance_is_looked_up_and_a_call_tried_once_more() -> None:
    plain = way()
    assert (plain.fixed, plain.node, plain.through_node, plain.filter) == (None, "", False, None)
    assert (plain.strategy, plain.retries, plain.metadata) == (balanced, 1, ())


def test_a_call_beats_its_client_and_metadata_adds_up() -> None:
    said = way({"retries": 3, "metadata": {"A": "1", "B": "1"}}, metadata={"b": "2"}, strategy=round_robin)
    assert (said.retries, said.strategy) == (3, round_robin)
    assert (said.metadata, said.own) == (("a", "1", "b", "2"), ("b", "2"))


def test_straight_to_instances_version_and_labels_filter_and_through_a_node_they_pin() -> None:
    direct = way(version="2", labels={"Zone": "eu"})
    assert direct.filter == Filter(version="2", labels=frozenset({("zone", "eu")}))
    assert direct.metadata == ()
    assert direct.filter_for("A.B") is direct.filter
    pinned = way({"proxy": "go.micro.network"}, version="2", labels={"Zone": "eu"})
    assert pinned.filter is None
    assert pinned.metadata == ("micro-version", "2", "micro-label-zone", "eu")


def test_what_must_be_offered_is_the_endpoint_that_is_called() -> None:
    assert way(must_offer=True).filter_for("A.B") == Filter(endpoint="A.B")
    assert way(must_offer=True, version="2").filter_for("A.B") == Filter(version="2", endpoint="A.B")
    assert way({"proxy": "go.micro.network"}, must_offer=True).filter_for("A.B") is None


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_call_may_go_straight_although_the_client_goes_through_a_node(nothing: str | None) -> None:
    defaults: Options = {"proxy": "10.0.0.1:8081"}
    assert way(defaults).through_node
    assert way(defaults).fixed is not None
    assert not way(defaults, proxy=nothing).through_node
    assert way(defaults, proxy=nothing).fixed is None


def test_an_address_is_called_without_a_node_and_a_calls_own_node_beats_the_clients_address() -> None:
    there = way({"proxy": "go.micro.network"}, address="h:1", version="2")
    assert (there.through_node, there.node, there.filter, there.metadata) == (False, "", None, ())
    assert there.fixed is not None
    assert way({"address": "h:1"}, proxy="go.micro.network").node == "go.micro.network"


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_call_may_look_an_instance_up_although_its_client_has_an_address(nothing: str | None) -> None:
    assert way({"address": "h:1"}, address=nothing).fixed is None
    assert way({"address": "h:1", "proxy": "go.micro.network"}, address=nothing).node == "go.micro.network"
    assert way({"address": "h:1"}, version=None).fixed is not None


def test_several_addresses_are_told_apart_once_each() -> None:
    assert split_addresses("a:1, b:2,a:1,") == ["a:1", "b:2"]
    for wrong in ("a", "a:1,b", "a:99999", ","):
        with pytest.raises(BadRequest):
            split_addresses(wrong)


def test_a_node_is_not_called_in_grpc() -> None:
    with pytest.raises(BadRequest, match=r"proxy \(MICRO_PROXY\) is 'grpc://h:1'"):
        way({"proxy": "grpc://h:1"})


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(TypeError, match="no option idempotant"):
        way(idempotant=True)


def test_metadata_that_is_no_text_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TypeError, match="'n' has a int"):
        way(metadata={"n": 1})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"version": 2}, 'version is text, such as "1.2", or None, not int'),
        ({"version": 2, "proxy": "127.0.0.1:1"}, 'version is text, such as "1.2", or None, not int'),
        ({"labels": {"zone": 7}}, 'labels is text by names, such as {"team": "blue"}, or None, not int at \'zone\''),
        ({"key": 17}, 'key is text, such as "user-17", or None, not int'),
        ({"strategy": "random"}, "strategy is a function, such as sdk.strategy.round_robin, not str"),
        (
            {"timeout": 3},
            "there is no option timeout: see sdk.options.Options; a deadline is a scope around the call",
        ),
    ],
)
def test_what_is_of_the_wrong_type_is_refused_before_it_is_sent(options: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=re.escape(says)):
        way(**options)


def test_an_option_that_does_not_exist_is_refused_by_a_client_too() -> None:
    with pytest.raises(TypeError, match="there is no option default_deadline: see"):
        Client(proxy="127.0.0.1:1", default_deadline=3)  # type: ignore[call-arg] # what a type checker would say, too
