"""Values ↔ message bytes, by content type: JSON, msgpack, raw bytes, protobuf, and what a program registers itself.

What comes in is untrusted and plain (dicts, lists, text, numbers); `sdk.schema` makes annotated types of it. What goes
out may be a dataclass, an enum, a date or another value of `sdk.texts`, or a protobuf message at any depth. A protobuf
message says nothing about itself, so its bytes are passed on as they are to whoever knows its class; the library is
imported only where a message has to become JSON or msgpack.
"""

import base64
import dataclasses
import enum
import json
from collections.abc import Callable, Coroutine, Mapping, Set
from typing import Any, Final, Never

import msgpack

from .arguments import FUNCTION, check, text
from .errors import RemoteProtocolError
from .texts import form_of

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
BYTES: Final = "application/octet-stream"
PROTOBUF: Final = "application/protobuf"

Encode = Callable[[Any], bytes]
"""A value as a message's bytes; raises whatever it likes for a value that it cannot say."""

Decode = Callable[[bytes], Any]
"""A message's bytes, which anybody may have sent, as plain data or a value of its own; may raise whatever it likes."""

_SYNONYMS: Final[dict[str, str]] = {
    "application/grpc": PROTOBUF,  # gRPC's default where no subtype is said
    "application/grpc+proto": PROTOBUF,
    "application/grpc+json": JSON,
    "application/grpc+msgpack": MSGPACK,
    "application/grpc+bytes": BYTES,
    "application/x-msgpack": MSGPACK,
    "application/x-protobuf": PROTOBUF,
}


def register(content_type: str, encode: Encode, decode_untrusted: Decode) -> None:
    """Speaks one more content type, in all services and clients of this process: `application/cbor`, say, which is also
    understood where gRPC calls it `application/grpc+cbor`. Register before the first call, and at both ends.

        sdk.codec.register("application/cbor", cbor2.dumps, cbor2.loads)
        await client.call("greeter", "Greeter.Hello", request, content_type="application/cbor")

    What `encode` raises reaches the caller as `TypeError`, what `decode_untrusted` raises is an error of whoever sent
    the message. Raises `ValueError` for what is no content type, and for one that is spoken already; `TypeError` for
    what is no text, or no function.
    """
    check("register", _WANTED, {"content_type": content_type, "encode": encode, "decode_untrusted": decode_untrusted})
    kind, slash, subtype = content_type.partition("/")
    synonym = f"application/grpc+{subtype}"
    if not slash or set(content_type) & _NOT_IN_NAMES or content_type != content_type.lower() or not (kind and subtype):
        raise ValueError(f"{content_type!r} is no content type: expected one in lower case such as application/cbor")
    for name in (content_type, synonym):
        if name in _ENCODERS or name in _SYNONYMS:
            raise ValueError(f"the content type {name} is spoken already")
    _SYNONYMS[synonym] = content_type
    _ENCODERS[content_type], _DECODERS[content_type] = encode, decode_untrusted


def content_type_of(value: object) -> str:
    """What a value is sent as when nobody says: bytes and protobuf messages as themselves, all else as msgpack."""
    if isinstance(value, bytes | bytearray | memoryview):
        return BYTES
    if hasattr(value, "SerializeToString"):
        return PROTOBUF
    return MSGPACK


def encode(content_type: str, value: Any) -> bytes:
    """A value as a message's bytes; raises `TypeError` for a value that cannot be said in that content type."""
    try:
        return (_ENCODERS.get(content_type) or _ENCODERS[_known(content_type)])(value)
    except Exception as error:
        kind = type(value).__name__
        raise TypeError(f"a value of type {kind} cannot be encoded as {_named(content_type)}: {error}") from error


def decode_untrusted(content_type: str, data: bytes) -> Any:
    """A message's bytes as plain data; of protobuf and octet-stream the bytes themselves.

    Raises `RemoteProtocolError` for bytes that are not what the content type says, and for one that is not spoken.
    """
    try:
        return (_DECODERS.get(content_type) or _DECODERS[_known(content_type)])(data)
    except Exception as error:
        raise RemoteProtocolError(f"a message is not {_named(content_type)}: {type(error).__name__} {error}") from None


_WANTED: Final = {"content_type": text("application/cbor"), "encode": FUNCTION, "decode_untrusted": FUNCTION}

_NOT_IN_NAMES: Final = frozenset(" ;,\t\r\n")


def _named(content_type: str) -> str:
    """The content type without parameters and in the spelling used here: whoever sent JSON over HTTP has not heard of
    `application/grpc+json`."""
    plain = content_type.partition(";")[0].strip().lower()
    return _SYNONYMS.get(plain, plain)


def _known(content_type: str) -> str:
    """That name, if it is spoken; raises `ValueError`."""
    plain = _named(content_type)
    if plain not in _ENCODERS:
        raise ValueError(f"the content type is not spoken here; known are {', '.join(_ENCODERS)}")
    return plain


def _plain(value: Any) -> Any:
    """One step from a value that the encoders do not know to one that they do; they come back for what is inside."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return list(value)
    if hasattr(value, "SerializeToString"):
        from google.protobuf import json_format

        return json_format.MessageToDict(value, preserving_proto_field_name=True)
    if (form := form_of(type(value))) is not None:
        return form.say(value)
    if isinstance(value, int):
        raise TypeError("an integer has more than the 64 bits that are held")  # JSON takes any
    if isinstance(value, Coroutine):
        raise TypeError("a coroutine has no plain form: is an `await` missing?")
    raise TypeError(f"{type(value).__name__} has no plain form")


def _plain_json(value: Any) -> Any:
    """JSON has no bytes: they go as base64, as in protobuf's mapping and Go's."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    return _plain(value)


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON number")


def _encode_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError("it takes bytes")


def _encode_protobuf(value: Any) -> bytes:
    if value is None:  # google.protobuf.Empty
        return b""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not hasattr(value, "SerializeToString"):
        raise TypeError("it takes a protobuf message, or the bytes of one")
    data: bytes = value.SerializeToString()
    return data


_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain_json)
_json_decoder = json.JSONDecoder(parse_constant=_no_constant)
_pack: Encode = msgpack.Packer(default=_plain, autoreset=True).pack


def _encode_json(value: Any) -> bytes:
    try:
        return _json.encode(value).encode()
    except TypeError:  # Python's encoder asks about values that it does not know, and not about keys
        return _json.encode(_with_plain_keys(value)).encode()


def _with_plain_keys(value: Any) -> Any:
    """The same with UUIDs, dates, enums and the like, where they are keys, in their plain form."""
    if isinstance(value, dict):
        return {
            key if isinstance(key, str | int | float | None) else _plain_json(key): _with_plain_keys(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_with_plain_keys(item) for item in value]
    return value if isinstance(value, str | int | float | None) else _with_plain_keys(_plain_json(value))


def _decode_json(data: bytes) -> Any:
    return _json_decoder.decode(data.decode())


def _decode_msgpack(data: bytes) -> Any:
    return msgpack.unpackb(data, strict_map_key=False)


_ENCODERS: Final[dict[str, Encode]] = {
    JSON: _encode_json,
    MSGPACK: _pack,
    BYTES: _encode_bytes,
    PROTOBUF: _encode_protobuf,
}

_DECODERS: Final[dict[str, Decode]] = {
    JSON: _decode_json,
    MSGPACK: _decode_msgpack,
    BYTES: bytes,
    PROTOBUF: bytes,
}
