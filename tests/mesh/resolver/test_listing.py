import json

import pytest

from mesh.resolver.listing import MAX_ADDRESS, parse_listing_untrusted
from sdk.errors import RemoteProtocolError


@pytest.mark.parametrize(
    ("body", "nodes"),
    [
        ('{"nodes": [{"address": "10.0.0.1:8085", "priority": 5}, {"address": "b.example:1"}]}',
         ["10.0.0.1:8085", "b.example:1"]),
        ('{"nodes": []}', []),
        (' [ "a:1", "tcp://b:2", "ws://c:3/way" ] ', ["a:1", "tcp://b:2", "ws://c:3/way"]),
        ("[]", []),
        ('[{"address": "a:1"}]', ["a:1"]),
        ("", []),
        ("# ours\n a:1 \r\n\n[::1]:2\n", ["a:1", "[::1]:2"]),
        ("[::1]:2\n[::2]:2", ["[::1]:2", "[::2]:2"]),
        ("\ufeffa:1", ["a:1"]),
        ("b:1\na:1\nb:1", ["b:1", "a:1"]),
    ],
)  # fmt: skip
def test_each_form_of_a_list_is_read_in_its_order(body: str, nodes: list[str]) -> None:
    assert list(parse_listing_untrusted(body.encode())) == nodes


@pytest.mark.parametrize(
    "body",
    ["<html>", "{", '{"nodes": {}}', '{"peers": []}', '["a:1"', "[1]", '[["a:1"]]', '{"nodes": [{"id": "a:1"}]}', "a",
     "a:0", ":1", "a:99999", "mem://a", "a:1/x", "ftp://a:1", "a b:1", "a:1\x1b[2J", "\u00e4:1", "a:1, b:1"],
)  # fmt: skip
def test_what_is_no_list_of_addresses_is_refused(body: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_listing_untrusted(body.encode())


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="UTF-8"):
        parse_listing_untrusted(b"\xff\xfe")


def test_an_address_longer_than_any_is_refused_in_a_short_sentence() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_listing_untrusted(json.dumps(["x" * MAX_ADDRESS + ":1"]).encode())
    assert len(str(caught.value)) < 300
