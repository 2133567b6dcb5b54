import ast
import enum
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgpack
import pytest
from google.protobuf import struct_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from sdk import codec
from sdk.codec import BYTES, JSON, MSGPACK, PROTOBUF, content_type_of, decode_untrusted, encode, register
from sdk.errors import BadRequest, RemoteProtocolError
from tests.sdk.living import echo, greeting

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    colours: set[Colour] = field(default_factory=set)


@given(PLAIN, st.sampled_from([JSON, MSGPACK, "application/grpc+json", "application/grpc+msgpack"]))
def test_plain_data_comes_back_as_it_went(value: Any, content_type: str) -> None:
    assert decode_untrusted(content_type, encode(content_type, value)) == value


@given(st.binary(), st.sampled_from([JSON, MSGPACK, BYTES, PROTOBUF, "text/x-nobody"]))
def test_whatever_comes_only_a_protocol_error_comes_out(data: bytes, content_type: str) -> None:
    try:
        decode_untrusted(content_type, data)
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
def test_dataclasses_enums_and_sets_go_out_as_plain_data_at_any_depth(content_type: str) -> None:
    data = encode(content_type, {"points": [Point(1, {Colour.RED})], "more": MappingProxyType({"a": 1})})
    assert decode_untrusted(content_type, data) == {"points": [{"x": 1, "colours": ["red"]}], "more": {"a": 1}}


def test_json_is_compact_and_in_utf_8() -> None:
    assert encode(JSON, {"a": ["ü", 1]}) == '{"a":["ü",1]}'.encode()


def test_bytes_are_base64_in_json_and_themselves_in_msgpack() -> None:
    assert encode(JSON, {"a": b"\xff"}) == b'{"a":"/w=="}'
    assert decode_untrusted(MSGPACK, encode(MSGPACK, {"a": b"\xff"})) == {"a": b"\xff"}


def test_protobuf_messages_go_as_themselves_and_as_json_where_that_is_spoken() -> None:
    message = wrappers_pb2.StringValue(value="hi")
    assert decode_untrusted(PROTOBUF, encode("application/grpc", message)) == message.SerializeToString()
    struct = struct_pb2.Struct()
    struct.update({"a": "b"})
    assert decode_untrusted(JSON, encode(JSON, struct)) == {"a": "b"}
    assert encode(PROTOBUF, None) == b""


@pytest.mark.parametrize(
    ("value", "expected"),
    [({"a": 1}, MSGPACK), (None, MSGPACK), (b"raw", BYTES), (wrappers_pb2.BoolValue(), PROTOBUF)],
)
def test_what_a_value_is_sent_as_when_nobody_says(value: object, expected: str) -> None:
    assert content_type_of(value) == expected


@pytest.mark.parametrize(
    ("content_type", "value"),
    [
        (JSON, float("nan")),
        (JSON, object()),
        (MSGPACK, 2**64),
        (MSGPACK, {"a": object()}),
        (BYTES, "text"),
        (PROTOBUF, {"a": 1}),
    ],
)
def test_a_value_that_cannot_be_said_is_a_type_error_that_names_it(content_type: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{type(value).__name__} cannot be encoded as {content_type}"):
        encode(content_type, value)
    assert encode(MSGPACK, {"after": 1}) == msgpack.packb({"after": 1})


@pytest.mark.parametrize("data", [b"{", b"NaN", b"\xff", b"[" * 100_000])
def test_json_that_is_none_says_so(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not application/json"):
        decode_untrusted(JSON, data)


def test_a_content_type_nobody_speaks_names_those_that_are() -> None:
    with pytest.raises(TypeError, match=r"text/x-nobody.*application/json"):
        encode("text/x-nobody", {})
    with pytest.raises(RemoteProtocolError, match=r"text/x-nobody.*application/json"):
        decode_untrusted("text/x-nobody", b"")


def test_parameters_and_case_of_a_content_type_do_not_matter() -> None:
    assert decode_untrusted("Application/JSON; charset=utf-8", b"1") == 1


@pytest.fixture
def reprs(monkeypatch: pytest.MonkeyPatch) -> str:
    """A content type that only this test speaks: Python's own notation."""
    for table in ("_SYNONYMS", "_ENCODERS", "_DECODERS"):
        monkeypatch.setattr(codec, table, dict(getattr(codec, table)))
    register("text/x-repr", lambda value: repr(value).encode(), lambda data: ast.literal_eval(data.decode()))
    return "text/x-repr"


def test_a_registered_content_type_is_spoken_under_its_name_and_grpcs(reprs: str) -> None:
    assert encode(reprs, {1, 2}) == b"{1, 2}"
    for name in (reprs, "application/grpc+x-repr", "Text/X-Repr; charset=utf-8"):
        assert decode_untrusted(name, encode(name, {1, 2})) == {1, 2}


async def test_calls_may_be_made_in_a_registered_content_type(reprs: str) -> None:
    async with greeting({"Greeter.Echo": echo}) as client:
        assert await client.call("greeter", "Greeter.Echo", {(1, 2), "a"}, content_type=reprs) == {(1, 2), "a"}
        assert await client.call("greeter", "Greeter.Echo", "as ever") == "as ever"


async def test_what_a_registered_decoder_raises_is_the_senders_fault(reprs: str) -> None:
    with pytest.raises(RemoteProtocolError, match="not text/x-repr: SyntaxError"):
        decode_untrusted(reprs, b"{")
    async with greeting({"Greeter.Echo": echo}) as client:
        with pytest.raises(BadRequest, match="not text/x-repr"):
            await client.call("greeter", "Greeter.Echo", object(), content_type=reprs)


@pytest.mark.parametrize("name", ["application/json", "application/x-protobuf", "text/json"])
def test_a_content_type_that_is_spoken_cannot_be_registered(name: str) -> None:
    with pytest.raises(ValueError, match="is spoken already"):
        register(name, repr, repr)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "cbor", "/cbor", "application/", "Application/CBOR", "a/b; c=d", "a/b c"])
def test_what_is_no_content_type_cannot_be_registered(name: str) -> None:
    with pytest.raises(ValueError, match="is no content type"):
        register(name, repr, repr)  # type: ignore[arg-type]


@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
def test_an_await_that_was_forgotten_is_named(content_type: str) -> None:
    async def answer() -> int:
        return 1

    forgotten = answer()
    with pytest.raises(TypeError, match="is an `await` missing"):
        encode(content_type, {"answer": forgotten})
    forgotten.close()


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_an_integer_that_msgpack_cannot_hold_is_told_from_a_value_that_is_none(value: int) -> None:
    with pytest.raises(TypeError, match="an integer has more than the 64 bits that are held"):
        encode(MSGPACK, [value])
