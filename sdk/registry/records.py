"""What back ends have in common: records of single instances, and what a watcher has been told about them.

A service's record is kept in pieces, one for each instance, because instances come and go each in its own process.
Nothing here does I/O.
"""

import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sdk.errors import BadRequest, RemoteProtocolError
from sdk.types import Service, parse_service, parse_service_untrusted, service_to_json

from . import Action, Event

LOG_LENGTH = 1000
"""Changes that are kept for watchers who are behind; etcd v2 kept as many."""

Key = tuple[str, str, str]
"""Name, version, id of the instance."""


class Change(NamedTuple):
    """One line of the log of changes."""

    key: Key
    record: Service | None
    """The record with this instance alone; None where it is gone."""


def split(service: Service) -> dict[Key, Service]:
    """The record in pieces, one for each instance.

    Raises `BadRequest` when it has no instance, or is such that `parse_service_untrusted` would not read it back.
    """
    service = parse_service(service_to_json(service))
    if not service.instances:
        raise BadRequest(f"the record of {service.name!r} has no instance: give at least one node with id and address")
    return {key_of(piece): piece for piece in (replace(service, instances=(one,)) for one in service.instances)}


def key_of(piece: Service) -> Key:
    """The key of a record with one instance."""
    return piece.name, piece.version, piece.instances[0].id


def merge(pieces: Iterable[Service]) -> tuple[Service, ...]:
    """Puts pieces together, ordered by name, version and instance.

    Given in the order they were changed: labels and endpoints of a version are those of its last piece.
    """
    versions: dict[tuple[str, str], list[Service]] = {}
    for piece in pieces:
        versions.setdefault((piece.name, piece.version), []).append(piece)
    return tuple(
        replace(of[-1], instances=tuple(sorted((piece.instances[0] for piece in of), key=lambda one: one.id)))
        for _, of in sorted(versions.items())
    )


def check_ttl(ttl: float | None) -> float:
    """The time to live in seconds, infinite for None; raises `BadRequest` where it is no time at all."""
    if ttl is None:
        return math.inf
    if not ttl > 0:
        raise BadRequest(f"a time to live of {ttl} s is none: give a number above 0")
    return ttl


def parse_record_untrusted(text: object) -> Service:
    """Reads a record as it stands in a store. Raises `RemoteProtocolError` and nothing else."""
    return parse_service_untrusted(parse_json_untrusted(text) if isinstance(text, str) else None)


def parse_json_untrusted(text: str | bytes) -> Any:
    """Reads JSON that somebody else wrote. Raises `RemoteProtocolError`, which repeats nothing of it, and nothing
    else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"it is not JSON: {type(error).__name__}") from None


class View:
    """What one watcher has been told, and what it must be told next."""

    def __init__(self) -> None:
        self._known: dict[Key, Service] = {}

    def follow(self, changes: Sequence[Change]) -> list[Event]:
        """The events for the next lines of the log; a line that says nothing new gives none."""
        return [event for key, record in changes if (event := self._change(key, record)) is not None]

    def replace(self, records: Mapping[Key, Service]) -> list[Event]:
        """The events that lead from what was told to these records: what is gone, then the rest in their order."""
        return self.keep(records) + self.follow([Change(key, record) for key, record in records.items()])

    def keep(self, keys: Container[Key]) -> list[Event]:
        """The events for what was told and is not among these."""
        return self.follow([Change(key, None) for key in self._known if key not in keys])

    def _change(self, key: Key, record: Service | None) -> Event | None:
        before = self._known.get(key)
        if record == before:
            return None
        if record is None:
            assert before is not None
            return Event(action=Action.DELETE, service=self._known.pop(key))
        self._known[key] = record
        return Event(action=Action.CREATE if before is None else Action.UPDATE, service=record)
