"""A list of nodes as a web server gives it, in any of three forms.

{"nodes": [{"address": "10.0.0.1:8085"}]}       as micro v2 has it
["10.0.0.1:8085", "wss://b.example:443/link"]
10.0.0.1:8085                                   one to a line; empty lines and those that begin with # do not count
"""

import json
from typing import Any, Final

from sdk.errors import BadRequest, RemoteProtocolError
from sdk.netaddress import split_address
from tunnel.transport import split_scheme

MAX_ADDRESS: Final = 300
"""Characters of one address: a host name and what stands around it."""


def parse_listing_untrusted(body: bytes) -> tuple[str, ...]:
    """The addresses, each once, in the list's order; raises `RemoteProtocolError` for what is no list of addresses."""
    try:
        text = body.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise RemoteProtocolError("the list is not UTF-8") from None
    entries = _json_entries(text) if _looks_like_json(text) else _lines(text)
    return tuple(dict.fromkeys(map(_address, entries)))


def _looks_like_json(text: str) -> bool:
    """A line may begin with the bracket of an IPv6 address, which no JSON list does."""
    return text.startswith("{") or (text.startswith("[") and text[1:].lstrip()[:1] in ('"', "{", "]"))


def _json_entries(text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("the list begins like JSON and is none") from None
    entries = value.get("nodes") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise RemoteProtocolError('the JSON has no list of nodes: it is {"nodes": [{"address": "host:port"}]}')
    return [entry.get("address") if isinstance(entry, dict) else entry for entry in entries]


def _lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _address(entry: object) -> str:
    """Checks what is going to be dialled, and shown."""
    if not isinstance(entry, str) or len(entry) > MAX_ADDRESS or not entry.isascii() or not entry.isprintable():
        raise RemoteProtocolError(f"the list has an entry that is no address: {repr(entry)[:60]}")
    try:
        scheme, rest = split_scheme(entry)
        host, port = split_address(rest.partition("/")[0] if scheme in ("ws", "wss") else rest)
    except BadRequest as error:
        raise RemoteProtocolError(f"the list has an entry that is no address: {str(error)[:200]}") from None
    # What is in this process's memory is nobody else's to name.
    if scheme == "mem" or not host or not port or " " in host:
        raise RemoteProtocolError(f"the list has an entry that nobody can dial: {entry[:60]!r}")
    return entry
