"""Heads of calls and answers."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sdk.head as head_module
from sdk.errors import RemoteProtocolError
from sdk.head import (
    CallHead,
    ReplyHead,
    Trailers,
    endpoint_of,
    metadata_to_dict,
    metadata_to_pairs,
    pack_call_head,
    pack_reply_head,
    pack_trailers,
    parse_call_head_untrusted,
    parse_reply_head_untrusted,
    parse_trailers_untrusted,
    path_of,
    with_flags,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
pairs = st.lists(st.tuples(texts, texts)).map(lambda drawn: tuple(part for pair in drawn for part in pair))
numbers = st.integers(0, 2**31)
call_ids = st.binary(max_size=15) | st.binary(min_size=16, max_size=16)
call_heads = st.builds(CallHead, texts, texts, texts, numbers, texts, pairs, call_ids)
reply_heads = st.builds(ReplyHead, texts, pairs, numbers, texts, pairs)
trailers = st.builds(Trailers, numbers, texts, pairs)

PARSERS = (parse_call_head_untrusted, parse_reply_head_untrusted, parse_trailers_untrusted)

packable = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | texts,
    lambda within: st.lists(within, max_size=8) | st.dictionaries(texts | st.integers(0, 9), within, max_size=8),
    max_leaves=20,
)


@given(call_heads)
def test_a_call_head_is_read_as_it_was_packed(head: CallHead) -> None:
    assert parse_call_head_untrusted(pack_call_head(head)) == head


@given(call_heads, st.lists(st.binary(min_size=16, max_size=16), min_size=2, max_size=4))
def test_heads_that_differ_in_their_id_alone_are_each_read_as_they_were_packed(
    head: CallHead, ids: list[bytes]
) -> None:
    for each in (head._replace(call_id=call_id) for call_id in ids):
        assert parse_call_head_untrusted(pack_call_head(each)) == each


@given(call_heads, numbers, st.lists(packable, max_size=3))
def test_other_flags_leave_all_else_as_it_is_even_what_a_newer_peer_added(
    head: CallHead, flags: int, more: list[Any]
) -> None:
    packed = msgpack.packb([*head, *more])
    assert with_flags(packed, flags) == msgpack.packb([*head._replace(flags=flags), *more])


def test_other_flags_do_not_look_into_what_a_newer_peer_added() -> None:
    head = msgpack.packb(CallHead("a", "b"))
    deep = bytes([head[0] + 1]) + head[1:] + b"\x91" * 900 + b"\x01"
    assert parse_call_head_untrusted(with_flags(deep, 4)).flags == 4


def test_making_up_heads_does_not_fill_the_memory() -> None:
    for number in range(3000):
        parse_call_head_untrusted(pack_call_head(CallHead(f"service {number}", "x", call_id=bytes(16))))
        parse_call_head_untrusted(pack_call_head(CallHead("s" * 1000, str(number), call_id=bytes(16))))
    assert sum(map(len, head_module._known)) <= 1024 * 512


@given(reply_heads)
def test_a_reply_head_is_read_as_it_was_packed(head: ReplyHead) -> None:
    assert parse_reply_head_untrusted(pack_reply_head(head)) == head


@given(trailers)
def test_trailers_are_read_as_they_were_packed(drawn: Trailers) -> None:
    assert parse_trailers_untrusted(pack_trailers(drawn)) == drawn


def is_sound(head: CallHead | ReplyHead | Trailers) -> bool:
    """Whether each field is of the type that its class says, so that nobody behind has to look again."""
    match head:
        case CallHead(service, endpoint, protocol, flags, content_type, metadata, call_id):
            texts, ints, flat = [service, endpoint, protocol, content_type], [flags], [metadata]
            if type(call_id) is not bytes or len(call_id) > 16:
                return False
        case ReplyHead(content_type, metadata, status, message, trailers):
            texts, ints, flat = [content_type, message], [status], [metadata, trailers]
        case Trailers(status, message, metadata):
            texts, ints, flat = [message], [status], [metadata]
    return (
        all(type(text) is str for text in texts)
        and all(type(number) is int for number in ints)
        and all(type(one) is tuple and len(one) % 2 == 0 and all(type(part) is str for part in one) for one in flat)
    )


@pytest.mark.parametrize("parse", PARSERS)
@given(data=st.binary() | packable.map(msgpack.packb) | st.lists(packable, max_size=9).map(msgpack.packb))
@example(data=b"")
@example(data=b"\x91" * 100_000)
@example(data=b"\xdd\xff\xff\xff\xff")
@example(data=msgpack.packb({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1}))
@example(data=msgpack.packb("abcdefgh"))
@example(data=msgpack.packb(["", "", "", b"", 0, "", "ab"]))
@example(data=msgpack.packb(["", "ab", 0, "", "ab"]))
@example(data=msgpack.packb(["", [], 0, "", "ab"]))
@example(data=msgpack.packb(["", [], 0, "", {"a": 1, "b": 2}]))
@example(data=msgpack.packb([0, "", "ab"]))
@example(data=msgpack.packb([True, "", []]))
@example(data=b"\x93\x00\xa1\xff\x90")
def test_whatever_comes_is_read_or_refused(
    parse: Callable[[bytes], CallHead | ReplyHead | Trailers], data: bytes
) -> None:
    try:
        head = parse(data)
    except RemoteProtocolError:
        return
    assert is_sound(head)


@given(call_heads.map(pack_call_head), st.data())
def test_a_changed_byte_is_read_or_refused(packed: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(packed) - 1))
    changed = packed[:place] + bytes([data.draw(st.integers(0, 255))]) + packed[place + 1 :]
    try:
        head = parse_call_head_untrusted(changed)
    except RemoteProtocolError:
        return
    assert is_sound(head)


@pytest.mark.parametrize(
    ("pack", "parse", "head"),
    [
        (pack_call_head, parse_call_head_untrusted, CallHead("greeter", "Greeter.Hello", metadata=("a", "b"))),
        (pack_reply_head, parse_reply_head_untrusted, ReplyHead("application/json", ("a", "b"), 5, "no", ("c", "d"))),
        (pack_trailers, parse_trailers_untrusted, Trailers(5, "no", ("a", "b"))),
    ],
)
def test_what_a_newer_peer_adds_is_skipped_and_what_is_cut_off_is_refused(
    pack: Callable[[Any], bytes], parse: Callable[[bytes], object], head: object
) -> None:
    items = msgpack.unpackb(pack(head))
    assert parse(msgpack.packb([*items, {"new": [1, 2]}, None])) == head
    with pytest.raises(RemoteProtocolError):
        parse(msgpack.packb(items[:-1]))
    with pytest.raises(RemoteProtocolError):
        parse(pack(head) + b"\x00")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (CallHead("s", "e", call_id=b"x" * 17), "wrong type"),
        (CallHead("s", "e", call_id="text"), "wrong type"),  # type: ignore[arg-type]
        (CallHead("s", "e", flags=True), "wrong type"),
        (CallHead("s", "e", metadata=("key",)), "key without a value"),
        (CallHead("s", 5), "cannot be read"),  # type: ignore[arg-type]
        (CallHead("s", "e", metadata=("key", 5)), "cannot be read"),  # type: ignore[arg-type]
    ],
)
def test_a_refusal_says_what_is_wrong_with_a_call_head(head: CallHead, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        parse_call_head_untrusted(pack_call_head(head))


def test_refusals_say_nothing_of_what_the_head_held() -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        parse_call_head_untrusted(msgpack.packb(["secret"]))
    assert "secret" not in str(refused.value)


def test_keys_go_to_lower_case_and_repeated_ones_stay() -> None:
    flat = metadata_to_pairs([("Set-Cookie", "A"), ("set-cookie", "B"), ("Micro-From", "Me")])
    assert flat == ("set-cookie", "A", "set-cookie", "B", "micro-from", "Me")
    assert metadata_to_dict(flat) == {"set-cookie": "B", "micro-from": "Me"}


@given(st.dictionaries(texts.map(str.lower), texts))
def test_a_mapping_comes_back(mapping: dict[str, str]) -> None:
    assert metadata_to_dict(metadata_to_pairs(mapping)) == mapping


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/greeter.Greeter/Hello", "Greeter.Hello"),
        ("/Greeter/Hello", "Greeter.Hello"),
        ("/a.b.c.Greeter/Hello", "Greeter.Hello"),
        ("Greeter.Hello", "Greeter.Hello"),
        ("/", "/"),
        ("/only", "/only"),
    ],
)
def test_a_path_of_grpc_names_an_endpoint(path: str, endpoint: str) -> None:
    assert endpoint_of(path) == endpoint


def test_an_endpoint_has_a_path_in_grpc() -> None:
    assert path_of("greeter", "Greeter.Hello") == "/greeter.Greeter/Hello"
    assert path_of("greeter", "Hello") == "/greeter/Hello"
    assert path_of("greeter", "/any.Thing/Goes") == "/any.Thing/Goes"
    assert endpoint_of(path_of("greeter", "Greeter.Hello")) == "Greeter.Hello"
