"""What an instance speaks, and how it is called."""

from collections.abc import Collection

import pytest

from proxy.speaks import Callee, Way, among, is_looked_into, speaks_known, way_to
from sdk.types import Instance


def instance(**metadata: str) -> Instance:
    return Instance(id="greeter-1", address="127.0.0.1:1", metadata=metadata)


@pytest.mark.parametrize(
    ("protocol", "metadata", "way"),
    [
        ("rpc", {"native": "1"}, Way.NATIVE),
        ("grpc", {"native": "1", "protocol": "grpc"}, Way.NATIVE),
        ("rpc", {"protocol": "grpc"}, Way.GRPC),
        ("grpc", {}, Way.GRPC),
        ("rpc", {"protocol": "mucp"}, None),
        ("http", {"protocol": "http"}, Way.HTTP),
        ("http", {"protocol": "http", "native": "1"}, Way.NATIVE),
        ("http", {"protocol": "grpc"}, Way.JSON),
        ("http", {"native": "1"}, Way.JSON),
        ("http", {"protocol": "mucp"}, None),
        ("rpc", {"protocol": "http"}, None),
        ("tcp", {"protocol": "tcp"}, Way.RAW),
        ("tcp", {"native": "1"}, Way.RAW),
        ("tcp", {"native": "1", "protocol": "tcp"}, Way.NATIVE),
        ("", {"native": "1"}, None),
        ("smtp", {"native": "1"}, None),
    ],
)
def test_a_call_reaches_an_instance_by_what_both_speak(
    protocol: str, metadata: dict[str, str], way: Way | None
) -> None:
    assert way_to(instance(**metadata), protocol) is way


@pytest.mark.parametrize(
    ("protocol", "way"),
    [("rpc", Way.ATTACHED), ("grpc", Way.ATTACHED), ("http", Way.JSON), ("tcp", None), ("smtp", None)],
)
def test_one_that_is_attached_is_called_over_its_connection_or_not_at_all(protocol: str, way: Way | None) -> None:
    attached = Instance(id="greeter-1", address="attached/10.0.0.1:5", metadata={"native": "1"})
    assert way_to(attached, protocol) is way


def test_json_is_made_into_grpc_only_where_nobody_speaks_http() -> None:
    web, native = instance(protocol="http"), instance(native="1")
    assert among("http")([native, web]) == [Callee(web, Way.HTTP)]
    assert among("http")([native]) == [Callee(native, Way.JSON)]


@pytest.mark.parametrize(("protocol", "known"), [("grpc", True), ("http", True), ("tcp", True), ("smtp", False)])
def test_what_an_instance_speaks_is_known_or_not(protocol: str, known: bool) -> None:
    assert speaks_known(instance(protocol=protocol)) is known


@pytest.mark.parametrize(
    ("protocols", "looked_into"),
    [({"http"}, True), ({"grpc", "http"}, True), ((), False), ({"tcp"}, False), ({"http", "tcp"}, False),
     ({"grpc", "smtp"}, False)],
)  # fmt: skip
def test_a_raw_connection_is_looked_into_where_all_who_may_take_it_speak_in_calls(
    protocols: Collection[str], looked_into: bool
) -> None:
    assert is_looked_into(protocols) is looked_into


def test_who_cannot_be_called_is_left_out() -> None:
    native = instance(native="1")
    assert among("rpc")([instance(protocol="mucp"), native]) == [Callee(native, Way.NATIVE)]
