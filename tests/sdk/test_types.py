"""Records of services, and how they are read from whoever sent them."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdk.errors import BadRequest, RemoteProtocolError
from sdk.types import (
    MAX_DEPTH,
    MAX_NAME,
    Endpoint,
    Instance,
    Service,
    Value,
    parse_service,
    parse_service_untrusted,
    service_to_json,
)

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_NAME)
labels = st.dictionaries(names, names, max_size=3)
values = st.recursive(
    st.builds(Value, name=names, type=names),
    lambda within: st.builds(Value, name=names, type=names, values=st.lists(within, max_size=2).map(tuple)),
    max_leaves=MAX_DEPTH,  # each level has a leaf, so it is never deeper
)
endpoints = st.builds(Endpoint, name=names, request=st.none() | values, response=st.none() | values, metadata=labels)
instances = st.builds(
    Instance,
    id=names,
    address=st.tuples(st.sampled_from(["10.0.0.1", "[::1]", "a.b"]), st.integers(1, 65535)).map("{0[0]}:{0[1]}".format),
    metadata=labels,
)
services = st.builds(
    Service,
    name=names,
    version=names,
    metadata=labels,
    endpoints=st.lists(endpoints, max_size=2).map(tuple),
    instances=st.lists(instances, max_size=2).map(tuple),
)

# What a decoder may make of anybody's bytes: JSON's kinds, and msgpack's bytes, tuples and keys besides.
keys = st.sampled_from(
    ["name", "version", "metadata", "endpoints", "nodes", "id", "address", "port", "request", "values", "type"]
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text() | st.sampled_from(["h:1", "::1"])
)
anything = st.recursive(
    scalars,
    lambda within: st.lists(within) | st.tuples(within) | st.dictionaries(keys | st.integers(), within, max_size=6),
    max_leaves=20,
)


@given(services)
def test_a_record_reads_back_as_it_was_written(service: Service) -> None:
    assert parse_service_untrusted(json.loads(json.dumps(service_to_json(service)))) == service


@given(anything | st.fixed_dictionaries({"name": names}, optional={"nodes": st.lists(anything), "endpoints": anything}))
@example({"name": "a", "nodes": [{"id": "1", "address": "h", "port": 10**5000}]})
@example({"name": "a", "metadata": {"k": "\ud800"}})
def test_whatever_comes_is_read_or_refused(data: object) -> None:
    try:
        service = parse_service_untrusted(data)
    except RemoteProtocolError:
        return
    json.dumps(service_to_json(service), ensure_ascii=False).encode()
    assert parse_service_untrusted(service_to_json(service)) == service


def test_go_micros_record_is_read() -> None:
    record = json.loads("""
        {"name": "greeter", "version": "latest", "metadata": null, "endpoints": [
           {"name": "Greeter.Hello",
            "request": {"name": "Request", "type": "Request", "values": [
                {"name": "name", "type": "string", "values": null}]},
            "response": null, "metadata": {"stream": "true"}}],
         "nodes": [{"id": "greeter-1", "address": "10.0.0.1:34567", "metadata": {"protocol": "mucp"}}]}""")
    assert parse_service_untrusted(record) == Service(
        name="greeter",
        endpoints=(
            Endpoint(
                name="Greeter.Hello",
                request=Value(name="Request", type="Request", values=(Value(name="name", type="string"),)),
                metadata={"stream": "true"},
            ),
        ),
        instances=(Instance(id="greeter-1", address="10.0.0.1:34567", metadata={"protocol": "mucp"}),),
    )


def test_a_record_is_written_with_go_micros_names() -> None:
    service = Service(name="a", endpoints=(Endpoint(name="A.B"),), instances=(Instance(id="1", address="h:1"),))
    assert service_to_json(service) == {
        "name": "a",
        "version": "latest",
        "metadata": {},
        "endpoints": [{"name": "A.B", "request": None, "response": None, "metadata": {}}],
        "nodes": [{"id": "1", "address": "h:1", "metadata": {}}],
    }


def test_unknown_keys_are_skipped_and_missing_ones_have_their_defaults() -> None:
    assert parse_service_untrusted({"name": "a", "colour": ["blue"]}) == Service(name="a")
    assert parse_service_untrusted({"name": "a", "version": ""}).version == "latest"


def node(**fields: Any) -> Instance:
    [instance] = parse_service_untrusted({"name": "a", "nodes": [{"id": "1", **fields}]}).instances
    return instance


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"address": "h:1"}, "h:1"),
        ({"address": "h:65535"}, "h:65535"),
        ({"address": "[::1]:80"}, "[::1]:80"),
        ({"address": "h", "port": 80}, "h:80"),
        ({"address": "::1", "port": 80}, "[::1]:80"),
        ({"address": "[::1]", "port": 80}, "[::1]:80"),
        ({"address": "h:80", "port": 0}, "h:80"),
    ],
)
def test_an_address_is_host_and_port_in_one_or_in_two_fields(fields: dict[str, Any], address: str) -> None:
    assert node(**fields).address == address


@pytest.mark.parametrize(
    "fields",
    [
        {"address": address}
        for address in (
            "",
            "h",
            ":80",
            "h:",
            "h:0",
            "h:65536",
            "h:0080801",
            "h:-1",
            "h:+1",
            "h: 1",
            "h:1_0",
            "h:²",
            "h:٣",
            "http://h:80",
            "h:80/path",
            "a b:80",
            "::1:80",
            "[::1:80",
        )
    ]
    + [{"address": address, "port": 80} for address in ("h:80", "h:81", "[::1]:80", "http://h")]
    + [{"address": "h", "port": port} for port in (0, -1, 65536, 10**5000, True, "80", 80.0)]
    + [{}, {"address": 80}, {"address": b"h:1"}, {"address": None, "port": 80}],
)
def test_what_is_no_address_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError, match=r"node (address|port)"):
        node(**fields)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "service is not an object"),
        ([], "service is not an object"),
        ({}, "name is missing"),
        ({"name": ""}, "name is missing"),
        ({"name": 5}, "name is missing or not text"),
        ({"name": "x" * (MAX_NAME + 1)}, "name is longer than 255"),
        ({"name": "\udc80"}, "name is not valid Unicode"),
        ({"name": "a", "version": 2}, "version is missing or not text"),
        ({"name": "a", "metadata": []}, "metadata is not an object"),
        ({"name": "a", "metadata": {"k": 1}}, "metadata holds something other than text"),
        ({"name": "a", "metadata": {1: "v"}}, "metadata holds something other than text"),
        ({"name": "a", "metadata": {"k": "\ud800"}}, "metadata is not valid Unicode"),
        ({"name": "a", "endpoints": {}}, "endpoints is not a list"),
        ({"name": "a", "endpoints": [None]}, "endpoint is not an object"),
        ({"name": "a", "endpoints": [{}]}, "endpoint name is missing"),
        ({"name": "a", "endpoints": [{"name": "e", "request": "r"}]}, "schema is not an object"),
        ({"name": "a", "endpoints": [{"name": "e", "response": {"values": {}}}]}, "schema values is not a list"),
        ({"name": "a", "nodes": "h:1"}, "nodes is not a list"),
        ({"name": "a", "nodes": ["h:1"]}, "node is not an object"),
        ({"name": "a", "nodes": [{"address": "h:1"}]}, "node id is missing"),
        ({"name": "a", "nodes": [{"id": "1", "address": "h:1", "metadata": "m"}]}, "node metadata is not an object"),
    ],
)
def test_a_refusal_names_the_field(data: object, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        parse_service_untrusted(data)
    with pytest.raises(BadRequest, match=says):
        parse_service(data)


def test_a_schema_is_read_to_its_greatest_depth_and_no_further() -> None:
    def nested(levels: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"name": "n", "type": "t"}
        for _ in range(levels):
            schema = {"name": "n", "type": "t", "values": [schema]}
        return {"name": "a", "endpoints": [{"name": "e", "request": schema}]}

    assert parse_service_untrusted(nested(MAX_DEPTH)).endpoints[0].request is not None
    for levels in (MAX_DEPTH + 1, 10_000):
        with pytest.raises(RemoteProtocolError, match="deeper than 8"):
            parse_service_untrusted(nested(levels))


def test_an_instance_says_what_it_speaks() -> None:
    plain = Instance(id="1", address="h:1")
    assert (plain.protocol, plain.native) == ("grpc", False)
    ours = Instance(id="1", address="h:1", metadata={"protocol": "http", "native": "1"})
    assert (ours.protocol, ours.native) == ("http", True)
