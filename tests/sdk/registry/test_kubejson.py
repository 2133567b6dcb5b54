"""What Kubernetes says of services, read: names, ports, protocols, who is ready, and what cannot be read."""

from typing import Any

import pytest

from sdk.errors import RemoteProtocolError
from sdk.registry.kubejson import (
    Kind,
    parse_page_untrusted,
    parse_path_untrusted,
    parse_slice_untrusted,
    parse_told_untrusted,
)
from tests.sdk.registry.kubeserver import slice_of


def port(name: str = "", number: int = 80, **more: str) -> dict[str, Any]:
    return {"name": name, "port": number, **more}


@pytest.mark.parametrize(
    ("ports", "number", "protocol"),
    [
        ([port(number=1), port("micro", 2)], 2, "grpc"),
        ([port("http", 1), port("grpc", 2)], 2, "grpc"),
        ([port("http-web", 1), port("metrics", 2)], 1, "http"),
        ([port("dns", 1, protocol="UDP"), port("tcp", 2)], 2, "tcp"),
        ([port("x", appProtocol="http")], 80, "http"),
        ([port("http", appProtocol="kubernetes.io/h2c")], 80, "grpc"),
        ([port("https")], 80, "grpc"),
    ],
)
def test_the_port_says_where_and_what(ports: list[dict[str, Any]], number: int, protocol: str) -> None:
    [record] = parse_slice_untrusted({**slice_of("s", "1"), "ports": ports}).records.values()
    [instance] = record.instances
    assert (instance.address, instance.protocol) == (f"10.0.0.1:{number}", protocol)


def test_labels_of_ours_are_name_version_and_metadata() -> None:
    [record] = parse_slice_untrusted(slice_of("s", "1", name="a.b", version="3", native="1")).records.values()
    assert (record.name, record.version, record.instances[0].metadata) == ("a.b", "3", {"native": "1"})


def test_a_pod_with_two_kinds_of_addresses_has_two_ids() -> None:
    item = slice_of("s", "1")
    item["endpoints"][0]["addresses"] = ["::1"]
    [(_, _, id)] = parse_slice_untrusted({**item, "addressType": "IPv6"}).records
    assert id == "1-ipv6"


def test_what_is_no_pod_is_known_by_its_address_and_what_is_unknown_counts_as_ready() -> None:
    item = {**slice_of("s"), "endpoints": [{"addresses": ["h"], "conditions": {"ready": None}}]}
    [(_, _, id)] = parse_slice_untrusted(item).records
    assert id == "h"
    assert not parse_slice_untrusted({**item, "endpoints": None}).records


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"ports": None}, "no port"),
        ({"ports": [port(number=0)]}, "no TCP port"),
        ({"ports": [port(protocol="UDP")]}, "no TCP port"),
        ({"endpoints": {}}, "no list"),
        ({"endpoints": [1]}, "endpoint"),
        ({"endpoints": [{"addresses": []}]}, "no address"),
        ({"metadata": {"namespace": "n", "name": "s"}, "endpoints": [{"addresses": ["h"]}]}, "name is missing"),
        ({"metadata": {"name": "s"}}, "namespace"),
    ],
)
def test_a_slice_that_cannot_be_read_says_why(more: dict[str, Any], says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        parse_slice_untrusted({**slice_of("s", "1"), **more})


def test_endpoints_that_cannot_be_read_are_told_of_and_spoil_no_other() -> None:
    item = slice_of("s", "1", "2")
    item["endpoints"] += [7, {"addresses": []}, {"addresses": ["h"], "targetRef": 7}, {"addresses": None}]
    found = parse_slice_untrusted(item)
    assert [id for _, _, id in found.records] == ["1", "2"]
    assert found.bad == (
        "the endpoint is not an object",
        "an endpoint has no address",
        "the targetRef is not an object",
    )


def test_a_page_has_slices_a_version_and_what_comes_next() -> None:
    page = parse_page_untrusted(b'{"metadata":{"resourceVersion":"5","continue":"x"},"items":[{}, 1]}')
    assert page == ([{}, 1], "5", "x")
    assert parse_page_untrusted(b'{"metadata":{"resourceVersion":"5"},"items":null}') == ([], "5", "")
    for bad in (b"", b"[]", b"{}", b'{"metadata":{}}', b'{"metadata":{"resourceVersion":"5"},"items":{"a":1}}'):
        with pytest.raises(RemoteProtocolError):
            parse_page_untrusted(bad)


def test_lines_of_a_watch_are_told_apart() -> None:
    def told(kind: str) -> Kind:
        line = f'{{"type":"{kind}","object":{{"metadata":{{"resourceVersion":"5","namespace":"n","name":"s"}}}}}}'
        found = parse_told_untrusted(line.encode())
        assert found.version == "5"
        assert parse_path_untrusted(found.slice) == "n/s"
        return found.kind

    assert [told(kind) for kind in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")] == [
        Kind.STANDS,
        Kind.STANDS,
        Kind.GONE,
        Kind.MARK,
    ]
    with pytest.raises(RemoteProtocolError, match="kind"):
        told("ELSE")
    assert parse_told_untrusted(b'{"type":"ERROR","object":{"code":410}}').kind is Kind.EXPIRED
    broken = parse_told_untrusted(b'{"type":"ERROR","object":{"code":500,"message":"no"}}')
    assert (broken.kind, broken.reason) == (Kind.BROKEN, "no")
