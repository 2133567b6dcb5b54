"""What is printed: aligned tables for people, JSON for programs.

Names and addresses come from other machines. Nothing that a terminal would obey gets through: characters that do not
print are written as escapes.
"""

import base64
import codecs
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from sdk.loglines import shown
from sdk.types import Value


def escape_what_does_not_fit(*streams: TextIO | None) -> None:
    """Lets the streams write as JSON does (`\\u20ac`) what their encoding has no bytes for: a terminal of Latin-1 shows
    all the same what came, and JSON stays JSON. Passes over streams that are closed."""
    codecs.register_error("micro-escape", _escaped)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="micro-escape")


def to_json(value: object) -> str:
    """The value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_as_text).translate(_ESCAPED_IN_JSON)


def to_json_line(value: object) -> str:
    """The value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, default=_as_text).translate(_ESCAPED_IN_JSON)


def printable(value: object) -> str:
    """The value as text that moves no cursor and changes no colour."""
    return shown(str(value))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns two spaces apart under their headings, the rows in the order given."""
    lines = [tuple(columns), *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def pairs(record: Mapping[str, Any]) -> str:
    """One line for each key: lists with commas, records within as `key=value`; a list of records takes a line each."""
    width = max((len(key) for key in record), default=0)
    lines: list[str] = []
    for key, value in record.items():
        several = isinstance(value, list) and any(isinstance(item, Mapping) for item in value)
        for heading, item in zip((key, *[""] * len(value)), value, strict=False) if several else ((key, value),):
            lines.append(f"{printable(heading).ljust(width)}  {_value(item)}".rstrip())
    return "\n".join(lines)


def size(count: float) -> str:
    """Bytes in the unit that fits: 999 B, 1.0 kB, 2.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit takes everything")


def metadata(record: Mapping[str, Any]) -> str:
    """Labels on one line."""
    return ",".join(f"{key}={value}" for key, value in sorted(record.items()))


def tree(root: Mapping[str, Any]) -> str:
    """A graph of nodes, `{"node": {"id", "name", "address"}, "peers": [...]}`: each peer below its node, indented."""
    return "\n".join(_branches(root, 0))


def schema(value: Value | None) -> str:
    """A request or response: its fields with their types, indented; `any` where the service does not say."""
    return "any" if value is None else "\n".join(_fields(value, 0))


# C1 controls, and the marks that turn the direction of writing: JSON leaves them as they are, terminals obey some.
_ESCAPED_IN_JSON = {
    code: f"\\u{code:04x}" for code in (0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """What `codecs` asks for: the text in place of what does not fit, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


def _as_text(value: object) -> str:
    """What JSON has no word for. Bytes go as base64, as in protobuf's mapping."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{printable(key)}={_value(item)}" for key, item in value.items() if item not in ("", None))
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable("" if value is None else value)


def _branches(branch: Mapping[str, Any], depth: int) -> Iterator[str]:
    node = branch["node"]
    name = [printable(node["name"])] if node.get("name") else []
    yield "    " * depth + "  ".join([*name, printable(node["id"]), printable(node["address"])]).rstrip()
    for peer in branch.get("peers", ()):
        yield from _branches(peer, depth + 1)


def _fields(value: Value, depth: int) -> Iterator[str]:
    words = [printable(word) for word in (value.name, value.type) if word]
    yield "  " * depth + " ".join(words) + (" {" if value.values else "")
    for item in value.values:
        yield from _fields(item, depth + 1)
    if value.values:
        yield "  " * depth + "}"
