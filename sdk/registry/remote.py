"""A registry over calls: the records that `go.micro.registry` takes and gives, for both ends.

The endpoints and their fields are those of go-micro v2's `service` registry. `Registry.Watch` alone says one thing
more: its first message is the mark `ready`, after which no change is missed.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from sdk.errors import RemoteProtocolError
from sdk.types import Service, parse_service_untrusted, service_to_json

from . import Action, Event
from .records import Change, key_of

REGISTRY_SERVICE: Final = "go.micro.registry"
"""What a registry that is called is called by."""

REGISTRY_PORT: Final = 8000
"""Where `micro registry` listens when nobody says otherwise."""

READY: Final = "ready"
"""The action of a watch's first message."""

MAX_RELAYS: Final = 4
"""Registries that may ask one another for one answer; more are a circle."""

relays: ContextVar[int] = ContextVar("relays", default=0)
"""How many registries have passed on the call that this task answers."""


def event_record(event: Event) -> dict[str, Any]:
    """A change as `Registry.Watch` tells it."""
    return {"action": event.action.value, "service": service_to_json(event.service)}


def parse_change_untrusted(data: object) -> Change:
    """Reads a message of `Registry.Watch`. Raises `RemoteProtocolError` naming what is wrong, and nothing else."""
    record = data if isinstance(data, Mapping) else {}
    action = record.get("action")
    if not isinstance(action, str) or action not in _ACTIONS:
        raise RemoteProtocolError(f"a change is {', '.join(_ACTIONS)}, not {str(action)[:40]!r}")
    piece = parse_service_untrusted(record.get("service"))
    if len(piece.instances) != 1:
        raise RemoteProtocolError(f"a change is told of one instance, not of {len(piece.instances)}")
    return Change(key_of(piece), None if action == Action.DELETE.value else piece)


def parse_records_untrusted(data: object) -> tuple[tuple[Service, ...], tuple[str, ...]]:
    """Reads the answer to `Registry.GetService` and `Registry.ListServices`: the records that can be read, and what is
    wrong with each of the others.

    Raises `RemoteProtocolError` where it is no such answer at all, and nothing else.
    """
    found = data.get("services") if isinstance(data, Mapping) else None
    if not isinstance(found, list):
        raise RemoteProtocolError("the answer of a registry has no list of services")
    good, bad = [], []
    for each in found:
        try:
            good.append(parse_service_untrusted(each))
        except RemoteProtocolError as error:
            bad.append(str(error))
    return tuple(good), tuple(bad)


_ACTIONS = tuple(action.value for action in Action)
