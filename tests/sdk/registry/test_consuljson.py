"""How records stand in Consul: go-micro's tags, and those of services that know nothing of it."""

import dataclasses
import json
import zlib
from typing import Any

import pytest

from sdk.errors import RemoteProtocolError
from sdk.registry.consuljson import (
    LONGEST_TAG,
    parse_entries_untrusted,
    parse_index_untrusted,
    parse_instance_untrusted,
    parse_names_untrusted,
    registration,
    shown_name,
    the_one,
)
from sdk.types import Endpoint, Instance, Service, Value

SERVICE = Service(
    name="50%\n",
    version="1.2",
    metadata={"owner": "Zoë"},
    endpoints=(Endpoint(name="A.B", request=Value(name="R", type="R"), metadata={"stream": "true"}),),
    instances=(Instance(id="a-1", address="[::1]:80", metadata={"native": "1", "zone": "b"}),),
)


def entry(told: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What Consul makes of a registration."""
    service = {"Service": told["Name"], **{name: told[name] for name in told if name not in {"Name", "Check"}}, **more}
    return {"Node": {"Address": "192.0.2.7"}, "Service": service}


def deflated(text: str) -> str:
    return zlib.compress(text.encode()).hex()


def test_what_is_registered_is_read_back() -> None:
    told = registration(SERVICE, "", "")
    assert told["Name"] == shown_name(SERVICE.name) == "50%25%0A"
    assert parse_instance_untrusted(entry(told, ModifyIndex=7)) == (SERVICE, 7, False)


def test_a_name_that_would_be_another_path_is_marked() -> None:
    for name, shown in (
        ("a/b.c", "a/b.c"),
        ("..", "%2E%2E"),
        ("a//b", "a%2F%2Fb"),
        ("a/", "a%2F"),
        ("./a%", "%2E%2Fa%25"),
    ):
        assert shown_name(name) == shown
        told = registration(dataclasses.replace(SERVICE, name=name), "", "")
        assert parse_instance_untrusted(entry(told)).record.name == name


def test_a_filter_quotes_as_go_does() -> None:
    [instance] = SERVICE.instances
    piece = dataclasses.replace(SERVICE, instances=(dataclasses.replace(instance, id='ä"\\\n'),))
    assert the_one(piece) == r'Service.ID == "ä\x22\\%0A"'


def test_a_time_to_live_is_a_check_that_passes_at_first() -> None:
    assert "Check" not in registration(SERVICE, "", "")
    assert registration(SERVICE, "5s", "65s")["Check"] == {
        "TTL": "5s",
        "Status": "passing",
        "DeregisterCriticalServiceAfter": "65s",
    }


def test_tags_are_written_as_go_micro_reads_them() -> None:
    tags = registration(SERVICE, "", "")["Tags"]
    kinds = [(tag[:2], zlib.decompress(bytes.fromhex(tag[2:])).decode()) for tag in tags]
    assert [json.loads(text) for kind, text in kinds if kind == "t-"] == [{"native": "1"}, {"zone": "b"}]
    assert [json.loads(text)["name"] for kind, text in kinds if kind == "e-"] == ["A.B"]
    assert [text for kind, text in kinds if kind == "v-"] == ["1.2"]


@pytest.mark.parametrize("plain", [False, True])
def test_a_record_of_go_micro_is_read(plain: bool) -> None:
    said = {
        "e": '{"name":"Say.Hello","request":{"name":"Request","type":"Request","values":null},"metadata":{}}',
        "t": '{"protocol":"grpc"}',
        "v": "latest",
    }
    tags = [f"{kind}={text}" if plain else f"{kind}-{deflated(text)}" for kind, text in said.items()]
    read = parse_instance_untrusted(
        {
            "Node": {"Address": "192.0.2.7"},
            "Service": {"ID": "say-1", "Service": "say", "Tags": tags, "Address": "", "Port": 9},
        }
    ).record
    [instance] = read.instances
    assert (read.name, read.version, instance.address, instance.metadata) == (
        "say",
        "latest",
        "192.0.2.7:9",
        {"protocol": "grpc"},
    )
    assert [endpoint.name for endpoint in read.endpoints] == ["Say.Hello"]


def test_a_service_of_others_is_read_with_its_meta() -> None:
    told = {"ID": "db", "Name": "db", "Tags": ["v-blue", "primary", "", "é-"], "Address": "db.example", "Port": 5432}
    read = parse_instance_untrusted(entry(told, Meta={"protocol": "tcp", "version": "15"})).record
    [instance] = read.instances
    assert (read.version, instance.address, instance.protocol) == ("15", "db.example:5432", "tcp")


def test_services_of_others_have_the_same_id_on_every_host_and_are_kept_apart() -> None:
    told = entry({"ID": "db", "Name": "db", "Tags": None, "Address": "", "Port": 5432})
    found = [{**told, "Node": {"Node": node, "Address": node}} for node in ("a", "b")]
    records = [parse_instance_untrusted(one).record for one in found]
    assert [record.instances[0].id for record in records] == ["db@a", "db@b"]


@pytest.mark.parametrize(
    ("statuses", "critical"), [([], False), (["passing", "warning"], False), (["passing", "critical"], True)]
)
def test_one_check_that_is_critical_makes_an_entry_so(statuses: list[str], critical: bool) -> None:
    checks = [{"Status": status} for status in statuses]
    assert parse_instance_untrusted({**entry(registration(SERVICE, "", "")), "Checks": checks}).critical is critical


def test_checks_that_are_no_list_are_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="checks"):
        parse_instance_untrusted({**entry(registration(SERVICE, "", "")), "Checks": {"Status": "passing"}})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"Port": 0}, "port"),
        ({"Address": 5}, "address"),
        ({"Service": "50%"}, "percent"),
        ({"Service": "%FF"}, "percent"),
        ({"ID": ""}, "id"),
        ({"Meta": {"a": 1}, "Tags": []}, "metadata"),
        ({"Tags": [f"e-{deflated('{')}"]}, "JSON"),
        ({"Tags": [f"t-{deflated('[]')}"]}, "metadata"),
        ({"Tags": [f"v-{deflated('x' * (LONGEST_TAG + 1))}"]}, "longer"),
        ({"Tags": [f"v-{deflated('x')[:-8]}"]}, "cut short"),
    ],
)
def test_an_entry_that_cannot_be_read_says_why(more: dict[str, Any], says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        parse_instance_untrusted(entry(registration(SERVICE, "", ""), **more))


def test_lists_are_read_without_consul_itself() -> None:
    assert parse_names_untrusted(b'{"consul": [], "a": ["x"]}') == ["a"]
    assert parse_entries_untrusted(b"[1, {}]") == [1, {}]
    for bad in (b"", b"[]"):
        with pytest.raises(RemoteProtocolError):
            parse_names_untrusted(bad)
    for bad in (b"", b"{}"):
        with pytest.raises(RemoteProtocolError):
            parse_entries_untrusted(bad)


def test_an_index_is_a_number() -> None:
    assert parse_index_untrusted("17") == 17
    for bad in ("", "-1", "x", "²", "1" * 21):
        with pytest.raises(RemoteProtocolError):
            parse_index_untrusted(bad)
