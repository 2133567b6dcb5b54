"""Registries: who offers which service here, kept where every program of the environment finds it.

All back ends keep the same promises:

- A record registered with a time to live disappears when nobody renews it in time, and watchers are told so. One
  without stays until it is deregistered.
- `watch` tells what is there, then every change in the order it was made. A watcher that is too slow for the log of
  changes is told the difference between what it knows and what is; nothing it was told stays wrong.
- What cannot be read in the store is skipped and named in the log, once.
"""

import enum
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from sdk.arguments import check, kind_of, text
from sdk.errors import BadRequest
from sdk.types import Service


class Action(enum.Enum):
    """What happened to an instance."""

    CREATE = "create"
    """It is new to the watcher."""
    UPDATE = "update"
    """Its record reads differently now."""
    DELETE = "delete"
    """It was deregistered, or its time ran out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of one instance."""

    action: Action
    """What happened."""
    service: Service
    """The record with this instance alone; for DELETE, as it was last."""


class Registry(Protocol):
    """Where services are found. Usable inside its `async with`; outside it raises `trio.ClosedResourceError`.

    Everything here raises `Unavailable` when the store cannot be used at present, saying where it is and what to try.
    A caller's cancel scope is the deadline; a cancelled change was made either wholly or not at all.
    """

    @property
    def name(self) -> str:
        """What `--registry` calls this back end."""

    @property
    def address(self) -> str:
        """Where the records are kept, in the form `open_registry` takes."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        """Adds or renews the record's instances, all or none; `ttl` in seconds, None: until deregistered.

        Labels and endpoints of a version are those of its latest registration. Raises `BadRequest` for a record without
        instances or one that could not be read back.
        """

    async def deregister(self, service: Service) -> None:
        """Removes the record's instances; those that are not there are no error.

        Raises `BadRequest` as `register` does.
        """

    async def get(self, name: str) -> tuple[Service, ...]:
        """The service's records, one for each version, ordered by it; empty when nobody offers it."""

    async def list(self) -> tuple[Service, ...]:
        """All records with their instances and endpoints, ordered by name and version."""

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Tells what is there as CREATE events, then each change, without end.

        Waiting for the next event may be cancelled and taken up again; no event is lost by that.
        """


def check_open(registry: Registry | None) -> Registry | None:
    """The same; raises `TypeError` for the name of one, which is what people try who have not read on, and for what is
    none."""
    if isinstance(registry, str):
        raise TypeError(
            f"registry={registry!r}: a registry that is open is wanted, as `async with "
            f"sdk.registry.open_registry({registry!r}) as registry` gives; or say MICRO_REGISTRY={registry}"
        )
    if registry is not None and (isinstance(registry, type) or not hasattr(registry, "watch")):
        raise TypeError(
            "registry is one that is open, as `async with sdk.registry.open_registry() as registry` gives, "
            f"not {kind_of(registry)}"
        )
    return registry


def open_registry(name: str = "", address: str = "") -> Registry:
    """The registry a program was told to use; enter it to open it.

    `mdns` (the default): `address` is any text without : and @; who gives the same one, on this host or its networks,
    sees each other.
    `sqlite` (the default for an `address` with a slash): the path of a file, by default one per user of this host.
    `memory`: `address` is any name; who gives the same one inside one `trio.run` shares the records.
    `etcd`: `address` is one `host:port` or several with commas between, by default etcd's port on this host, or a URL:
    `etcd://user:password@host:port,host2:port`, `etcds://host?ca=FILE&cert=FILE&key=FILE`.
    `service`: `address` is where `micro registry` or a node listens, one `host:port` or several with commas between.
    `consul`: `address` is the `host:port` of an agent, by default that of this host, or a URL: `consul://TOKEN@host`,
    `consuls://host?ca=FILE`; the token may also be in MICRO_REGISTRY_TOKEN. Of several agents, with commas between, the
    first is told what is registered, and all are read.
    `kubernetes`: `address` is a namespace, by default the account's, or `*`, or a URL:
    `kubernetes://NAMESPACE?kubeconfig=FILE&selector=LABELS`. It is read only.
    `dns`: `address` is `dns://SERVER/DOMAIN?services=NAME,NAME:PORT`, where SERVER is an IP address, or several with
    commas between, or left out for the system's. It is read only.

    A URL, such as `sqlite:///path`, may stand for both, as either of the two. Raises `BadRequest` for a name that is
    none of these, and for a URL of another registry than the one named; `TypeError` for what is no text.
    """
    check("open_registry", _WANTED, {"name": name, "address": address})
    # Imported on use: a program pays for the back end it has, and sqlite3 costs as much as the rest of the package.
    if "://" in name:
        if address:
            raise BadRequest(
                "where the registry is was said twice: --registry (MICRO_REGISTRY) is a URL, "
                "so leave out --registry-address (MICRO_REGISTRY_ADDRESS)"
            )
        name, address = name.partition("://")[0], name
    elif not name and "://" in address:
        name = address.partition("://")[0]
    elif not name:
        name = "sqlite" if "/" in address else "mdns"
    address = _address_for(name, address)
    if name == "sqlite":
        from .sqlite import SqliteRegistry

        return SqliteRegistry(address.removeprefix("sqlite://"))
    if name == "memory":
        from .memory import MemoryRegistry

        return MemoryRegistry(address.removeprefix("memory://"))
    if name == "mdns":
        from .mdns import MdnsRegistry

        return MdnsRegistry(address.removeprefix("mdns://"))
    if name in {"etcd", "etcds"}:
        from .etcd import EtcdRegistry

        return EtcdRegistry(address)
    if name in {"consul", "consuls"}:
        from .consul import ConsulRegistry

        return ConsulRegistry(address)
    if name == "kubernetes":
        from .kubernetes import KubernetesRegistry

        return KubernetesRegistry(address)
    if name == "dns":
        from .dns import DnsRegistry

        return DnsRegistry(address)
    if name == "service":
        from .service import ServiceRegistry

        return ServiceRegistry(address)
    # What is no word at all may be an address with a password.
    called = "with such a name" if {":", "@"} & set(name) else f"called {name!r}"
    raise BadRequest(
        f"there is no registry {called}: --registry (MICRO_REGISTRY) takes "
        "consul, dns, etcd, kubernetes, mdns, memory, service or sqlite"
    )


def _address_for(name: str, address: str) -> str:
    """The address, with the scheme that asks for TLS where the name alone says so. Raises `BadRequest` for the URL of
    another registry."""
    scheme, mark, _ = address.partition("://")
    if not mark:
        _check_group(name, address)
        return f"{name}://{address}" if name in {"etcds", "consuls"} else address
    if scheme not in _SCHEMES.get(name, (scheme,)):
        # The address is not repeated: it may hold a password.
        raise BadRequest(
            f"--registry (MICRO_REGISTRY) is {name}, and --registry-address (MICRO_REGISTRY_ADDRESS) is a URL that "
            f"does not begin with {name}://: name the same registry in both, or leave --registry out"
        )
    _check_group(name, address.removeprefix("mdns://"))
    return address


def _check_group(name: str, address: str) -> None:
    if name == "mdns" and {":", "@"} & set(address):
        raise BadRequest(
            "--registry-address (MICRO_REGISTRY_ADDRESS) of mdns is the name of a group, without : and @: for the "
            "address of a server, say of which registry it is with --registry (MICRO_REGISTRY)"
        )


_WANTED = {"name": text("etcd"), "address": text("10.0.0.5:2379")}

_SCHEMES = {
    "etcd": ("etcd", "etcds", "http", "https"),
    "etcds": ("etcds", "https"),
    "consul": ("consul", "consuls", "http", "https"),
    "consuls": ("consuls", "https"),
    **{name: (name,) for name in ("dns", "kubernetes", "mdns", "memory", "service", "sqlite")},
}
"""What a URL of each registry may begin with."""
