"""What each origin offers: one entry for each service and version, whatever the number of instances.

Instances stay behind their node. Others learn how many there are and what they speak, so what is told does not grow
with them.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sdk.types import MAX_NAME, Instance, Service

from .statement import Statement

MAX_SERVICES: Final = 20_000
"""Most entries one origin may tell; about 1 MB."""
MAX_BODY: Final = 3 << 20
"""Most bytes of entries one origin may tell, so that they fit into one message on a link (4 MiB)."""
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

    @property
    def key(self) -> tuple[str, str]:
        """What there is one of per origin."""
        return self.service, self.version


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMap(Statement):
    """A node's word about everything it offers. The entries themselves travel beside it."""

    count: int
    """How many entries there are."""
    root: bytes
    """Hash over all of them."""


def root_of(body: bytes) -> bytes:
    """The hash that stands for the packed entries: SHA-256."""
    return hashlib.sha256(body).digest()


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
    """The entries of each service, in the order given."""
    found: dict[str, list[ServiceEntry]] = {}
    for entry in entries:
        found.setdefault(entry.service, []).append(entry)
    return {name: tuple(group) for name, group in found.items()}
