"""Which slices of Kubernetes there are, and what record they give each instance.

An instance stands in two slices for a while when it moves from one to the other, and for good where two Services of one
name select its pod. The record is then that of the slice whose path comes first, whoever asks and whenever.

Nothing here does I/O.
"""

from sdk.types import Service

from .kubejson import Slice
from .records import Change, Key


class Slices:
    """The slices that were told, by their paths."""

    def __init__(self) -> None:
        self._slices: dict[str, Slice] = {}
        self._standing: dict[Key, dict[str, Service]] = {}
        """Of each instance its record in each slice, by the slice's path; never empty."""

    def put(self, path: str, now: Slice | None) -> list[Change]:
        """This slice is so now, or None: gone. Returns what its instances are now, those that did not change too."""
        before = self._slices.pop(path, None)
        if now is not None:
            self._slices[path] = now
        gone = before.records if before is not None else {}
        here = now.records if now is not None else {}
        for key in gone:
            del self._standing[key][path]
            if not self._standing[key]:
                del self._standing[key]
        for key, record in here.items():
            self._standing.setdefault(key, {})[path] = record
        return [Change(key, self._record(key)) for key in dict.fromkeys([*gone, *here])]

    def records(self) -> dict[Key, Service]:
        """The record of every instance."""
        return {key: standing[min(standing)] for key, standing in self._standing.items()}

    def _record(self, key: Key) -> Service | None:
        standing = self._standing.get(key)
        return standing[min(standing)] if standing else None
