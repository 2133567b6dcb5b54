"""Metadata as grpcio has it, pairs whose values are bytes where the name ends in `-bin`, and as calls carry it."""

import base64
import binascii
from collections.abc import Iterable
from typing import NamedTuple

from sdk.head import Metadata

Value = str | bytes


class Field(NamedTuple):
    """One entry."""

    key: str
    value: Value


def fields_of(metadata: Metadata) -> tuple[Field, ...]:
    """What grpcio's programs see. Of a binary value that is no base64 the text stays: its sender made it."""
    fields: list[Field] = []
    for key, value in zip(metadata[::2], metadata[1::2], strict=True):
        if key.endswith("-bin"):
            fields.extend(Field(key, _binary(part)) for part in value.split(","))
        else:
            fields.append(Field(key, value))
    return tuple(fields)


def metadata_of(fields: Iterable[tuple[str, Value]] | None) -> Metadata:
    """What a call carries. Raises `TypeError` for what is neither text nor, under a name in `-bin`, bytes."""
    metadata: list[str] = []
    for key, value in fields or ():
        if isinstance(value, bytes):
            if not key.endswith("-bin"):
                raise TypeError(f"metadata is text, but {key!r} has bytes: these go under a name that ends in -bin")
            value = base64.b64encode(value).rstrip(b"=").decode()
        if not isinstance(value, str):
            raise TypeError(f"metadata is text, but {key!r} has a {type(value).__name__}")
        metadata += (key.lower(), value)
    return tuple(metadata)


def _binary(text: str) -> Value:
    # gRPC over HTTP/2, "Custom-Metadata": senders leave the padding out, receivers take both.
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        return text
