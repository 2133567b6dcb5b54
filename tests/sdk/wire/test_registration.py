import msgpack
import pytest

from sdk.errors import BadRequest, RemoteProtocolError, Status
from sdk.types import Endpoint, Instance, Service, Value
from sdk.wire.frame import MAX_PAYLOAD
from sdk.wire.registration import (
    Refused,
    Registered,
    pack_refused,
    pack_registered,
    pack_registration,
    parse_refused_untrusted,
    parse_registered_untrusted,
    parse_registration_untrusted,
)


def greeter(*ids: str, address: str = "", endpoints: tuple[Endpoint, ...] = ()) -> Service:
    instances = tuple(Instance(id=id, address=address, metadata={"protocol": "grpc"}) for id in ids)
    return Service(name="greeter", version="2", metadata={"zone": "a"}, endpoints=endpoints, instances=instances)


def test_a_record_arrives_as_it_is_but_for_its_address_which_is_the_nodes_to_say() -> None:
    sent = greeter("greeter-1", address="10.0.0.1:80", endpoints=(Endpoint(name="Greeter.Hello"),))
    assert parse_registration_untrusted(pack_registration(sent), "attached/x") == greeter(
        "greeter-1", address="attached/x", endpoints=(Endpoint(name="Greeter.Hello"),)
    )


@pytest.mark.parametrize("ids", [(), ("greeter-1", "greeter-2")])
def test_a_connection_is_one_instance(ids: tuple[str, ...]) -> None:
    with pytest.raises(RemoteProtocolError, match=f"REGISTER has {len(ids)} instances"):
        parse_registration_untrusted(pack_registration(greeter(*ids)), "attached/x")


def test_of_a_record_that_is_too_long_the_schemas_are_left_out() -> None:
    schema = Value(name="x" * 200, type="str")
    many = tuple(Endpoint(name=f"G.E{n}", request=schema) for n in range(500))
    read = parse_registration_untrusted(pack_registration(greeter("greeter-1", endpoints=many)), "attached/x")
    assert [endpoint.name for endpoint in read.endpoints] == [endpoint.name for endpoint in many]
    assert not any(endpoint.request for endpoint in read.endpoints)
    endless = tuple(Endpoint(name=f"G.{n:0200}") for n in range(500))
    with pytest.raises(BadRequest, match=rf"greeter has \d+ bytes; {MAX_PAYLOAD} can be told"):
        pack_registration(greeter("greeter-1", endpoints=endless))


def test_names_and_refusals_arrive_as_they_are_and_more_items_are_skipped() -> None:
    name, refused = Registered("greeter", "2"), Refused(Registered("greeter", ""), Status.ALREADY_EXISTS, "taken")
    assert parse_registered_untrusted(pack_registered(name)) == name
    assert parse_registered_untrusted(msgpack.packb([*name, 7])) == name
    assert parse_refused_untrusted(pack_refused(refused)) == refused
    assert parse_refused_untrusted(msgpack.packb(["g", "1", 99, "why", 7])).status == Status.UNKNOWN


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgpack.packb("greeter"), msgpack.packb(["", "1"]), b"\x92\x01\x02"])
def test_what_is_no_name_or_refusal_is_the_peers_fault(payload: bytes) -> None:
    for parse in (parse_registered_untrusted, parse_refused_untrusted):
        with pytest.raises(RemoteProtocolError):
            parse(payload)
