"""What each origin offers: one entry for each service and version, whatever the number of instances.

Instances stay behind their node. Others learn how many there are and what they speak, so what is told does not grow
with them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sdk.types import MAX_NAME, Instance, Service

from .statement import Statement

MAX_SERVICES: Final = 20_000
"""Most entries one origin may tell; about 1 MB."""
MAX_BODY: Final = 3 << 20
"""Most bytes of packed entries one origin may tell."""
MAX_ALL_SERVICES: Final = 250_000
"""Most entries of all origins together; some 150 MB if no two are alike."""
MAX_ALL_BODY: Final = 128 << 20
"""Most bytes of packed entries of all origins together: half a kilobyte for each of the most entries."""
MAX_LABELS: Final = 32
"""Most labels of an entry."""
MAX_PROTOCOLS: Final = 8
"""Most protocols of an entry."""
MAX_INSTANCES: Final = 1_000_000
"""Most instances of an entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEntry:
    """One service in one version, as an origin offers it."""

    service: str
    """What callers call it by."""
    version: str
    """Which version."""
    protocols: tuple[str, ...]
    """What its instances speak, sorted."""
    instances: int
    """How many there are."""
    weight: int
    """Share of calls it is good for: the number of instances that can be called. With 0 it is listed only."""
    labels: tuple[tuple[str, str], ...]
    """The service's metadata, sorted by key."""
    packed: bytes = field(default=b"", compare=False, repr=False)
    """The entry as it travels, with what a newer node may have added; empty until it does."""

    @property
    def key(self) -> tuple[str, str]:
        """What there is one of per origin."""
        return self.service, self.version


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRoot(Statement):
    """A node's word about everything it offers. The entries themselves travel beside it, whole or as a change."""

    count: int
    """How many entries there are."""
    root: bytes
    """Hash over all of them (see servicemap.py)."""


def is_callable(instance: Instance) -> bool:
    """Whether nodes speak its protocol: all but go-micro's own wire."""
    return instance.protocol != "mucp"


def is_tellable(text: str) -> bool:
    """Whether other nodes take this text as a name or label: short, and nothing a terminal would obey."""
    return len(text) <= MAX_NAME and text.isprintable()


def entry_of(service: Service) -> ServiceEntry | None:
    """The entry for a record of the local registry; None when there is nothing to tell, or nothing others would take.

    Labels that others would not take are left out.
    """
    if not service.instances or not service.name or not is_tellable(service.name) or not is_tellable(service.version):
        return None
    protocols = sorted(dict.fromkeys(filter(is_tellable, (instance.protocol for instance in service.instances))))
    labels = sorted((key, value) for key, value in service.metadata.items() if is_tellable(key) and is_tellable(value))
    return ServiceEntry(
        service=service.name,
        version=service.version,
        protocols=tuple(protocols[:MAX_PROTOCOLS]),
        instances=min(len(service.instances), MAX_INSTANCES),
        weight=min(sum(map(is_callable, service.instances)), MAX_INSTANCES),
        labels=tuple(labels[:MAX_LABELS]),
    )


def by_name(entries: Iterable[ServiceEntry]) -> dict[str, tuple[ServiceEntry, ...]]:
    """The entries of each service, by version."""
    found: dict[str, list[ServiceEntry]] = {}
    for entry in entries:
        found.setdefault(entry.service, []).append(entry)
    return {name: tuple(sorted(group, key=_version)) for name, group in found.items()}


def _version(entry: ServiceEntry) -> str:
    return entry.version
