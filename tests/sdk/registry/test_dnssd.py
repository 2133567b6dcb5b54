"""What stands in TXT records, without a network."""

import json
import random
import zlib
from dataclasses import replace

import pytest

from sdk.errors import BadRequest, RemoteProtocolError
from sdk.registry import dnssd
from sdk.registry.dnssd import (
    INLINE,
    MAX_JSON,
    MAX_PARTS,
    PART,
    Head,
    digest,
    group_of,
    head_of,
    head_to_text,
    label,
    pack,
    parse_head_untrusted,
    parse_record_untrusted,
    part_names,
    parts_of,
    unpack_untrusted,
)
from sdk.registry.records import key_of
from sdk.types import Instance, Service, service_to_json

GREETER = Service(name="greeter", version="1", instances=(Instance(id="g-1", address="10.0.0.1:80"),))


def long(characters: int) -> Service:
    """A record that hardly gets shorter."""
    noise = random.Random(1)
    text = "".join(chr(noise.randrange(0x4E00, 0x9FFF)) for _ in range(characters))
    return replace(GREETER, metadata={"noise": text})


def head(packed: bytes, group: str = "", ttl: float = 30) -> Head:
    return head_of(packed, source=digest(b"us"), sequence=7, ttl=ttl, group=group, host=digest(b"host"))


@pytest.mark.parametrize("service", [GREETER, long(200), long(40_000)], ids=["small", "inline", "in parts"])
def test_a_record_survives_the_way(service: Service) -> None:
    packed = pack(service)
    sent = head(packed, group_of("ours"))
    received = parse_head_untrusted(head_to_text(sent))
    assert received == sent
    assert bool(received.parts) == (len(packed) > INLINE)
    assert (
        unpack_untrusted(received, parts_of(packed) if received.parts else [], label(key_of(service), group_of("ours")))
        == service
    )


def test_no_packet_is_longer_than_a_link_carries() -> None:
    packed = pack(long(40_000))
    texts = [head_to_text(head(packed)), *parts_of(packed)]
    texts.append(head_to_text(head(b"x" * INLINE, group_of("ours"), ttl=dnssd.MAX_TTL)))
    names = part_names(head(packed))
    assert len(names) == len(parts_of(packed)) == len(set(names))
    assert max(map(len, texts)) < 1300
    assert max(len(name.split(".", maxsplit=1)[0]) for name in names) <= 63


def test_each_string_of_a_text_record_is_a_key_and_a_value() -> None:
    text = head_to_text(head(pack(long(200))))
    strings = []
    while text:
        strings.append(text[1 : 1 + text[0]])
        text = text[1 + text[0] :]
    assert strings[0] == b"txtvers=1"
    assert all(string.partition(b"=")[0].isalnum() for string in strings)


@pytest.mark.parametrize("name", ["greeter", "x" * 255, "名前", "a.b/c d", "\0", "Go.Micro.API"])
def test_any_name_makes_a_label_of_dns(name: str) -> None:
    made = label((name, "1", "id"))
    assert len(made) <= 63
    assert made.replace("-", "").isalnum()
    assert made.isascii()
    assert made == made.lower()


def test_different_instances_have_different_labels() -> None:
    keys = [("a", "b", "c"), ("a", "bc", ""), ("A", "b", "c"), ("a", "b", "C"), ("a\0b", "", "c")]
    assert len({label(key) for key in keys}) == len(keys)


def test_only_an_address_that_was_given_makes_a_group() -> None:
    assert group_of("") == ""
    assert group_of("a") != group_of("b")


def test_a_record_that_is_too_long_is_refused_naming_the_limit() -> None:
    with pytest.raises(BadRequest, match=rf"'greeter' is too long for mdns.*{MAX_PARTS * PART} .*--registry"):
        pack(long(170_000))
    with pytest.raises(BadRequest, match=rf"at most {MAX_JSON} "):
        pack(replace(GREETER, metadata={"zeros": "0" * MAX_JSON}))


def test_a_few_bytes_do_not_unpack_to_many() -> None:
    bomb = zlib.compress(json.dumps({"name": "a", "zeros": "0" * 100 * MAX_JSON}).encode())
    assert len(bomb) < PART * MAX_PARTS
    with pytest.raises(RemoteProtocolError, match="more than"):
        parse_record_untrusted(bomb)


@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        (b"txtvers=1", b"txtvers=2", "another version"),
        (b"ttl=30000", b"ttl=00000", "good for 0 ms"),
        (b"seq=7", b"seq=x", "seq is no number"),
        (b"by=", b"by=g", "middle of a string"),
        (digest(b"us").encode(), b"g" * 32, "by is no digest"),
        (group_of("ours").encode(), b"g" * 32, "group is no digest"),
    ],
)
def test_a_head_that_makes_no_sense_is_refused(good: bytes, bad: bytes, says: str) -> None:
    text = head_to_text(head(pack(GREETER), group_of("ours")))
    assert good in text
    with pytest.raises(RemoteProtocolError, match=says):
        parse_head_untrusted(text.replace(good, bad))


def test_more_parts_than_are_read_are_refused() -> None:
    text = head_to_text(replace(head(pack(GREETER)), parts=MAX_PARTS + 1))
    with pytest.raises(RemoteProtocolError, match="257 parts"):
        parse_head_untrusted(text)


def test_a_time_to_live_from_the_network_has_a_bound() -> None:
    assert parse_head_untrusted(head_to_text(head(b"x", ttl=1e12))).ttl == dnssd.MAX_TTL


def test_a_record_under_a_name_that_is_not_its_own_is_refused() -> None:
    packed = pack(GREETER)
    with pytest.raises(RemoteProtocolError, match="something else"):
        unpack_untrusted(head(packed), [], label(("greeter", "1", "g-2")))
    with pytest.raises(RemoteProtocolError, match="belong together"):
        unpack_untrusted(replace(head(packed), digest=digest(b"")), [], label(key_of(GREETER)))


def test_a_record_of_several_instances_is_refused() -> None:
    two = replace(GREETER, instances=GREETER.instances * 2)
    with pytest.raises(RemoteProtocolError, match="2 instances"):
        parse_record_untrusted(zlib.compress(json.dumps(service_to_json(two)).encode()))
