"""DNS as a registry that can be written to: what whoever keeps a zone does, for tests that register.

`register` gives an instance a host of its own and `deregister` takes its SRV record away. Everything else is the
registry itself, which is asked to register first and must refuse. What DNS cannot say is put back where it is read: a
record has no id, and here two instances may stand at one address, which are two hosts there.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Self

import pytest

from sdk.errors import Forbidden
from sdk.registry import Event, Registry
from sdk.types import Instance, Service

Keep = Callable[[Mapping[tuple[str, str], Sequence[str]]], None]
"""Makes these the records of their names and types in the domain `example`, from now on."""


class WrittenZone:
    """What was written to one zone, by whomever."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._hosts: dict[str, str] = {}
        self._places: dict[str, tuple[str, str]] = {}
        self._services: dict[str, dict[str, str]] = {}

    def write(self, service: Service) -> None:
        """These instances stand in the zone from now on."""
        records = self._services.setdefault(service.name, {})
        owner, new = f"_{service.name}._tcp.example", {}
        for instance in service.instances:
            host, _, port = instance.address.rpartition(":")
            if instance.id not in self._hosts:
                number = len(self._hosts)
                self._hosts[instance.id] = f"h{number}.example."
                address = f"10.1.{100 + number // 100}.{100 + number % 100}"  # in the order of their text as well
                self._places[address] = (instance.id, host)
                new[f"h{number}.example", "A"] = [address]
            records[instance.id] = f"0 0 {port} {self._hosts[instance.id]}"
        self._keep(
            {**new, (owner, "TXT"): [f"micro.mu/version={service.version}"], (owner, "SRV"): list(records.values())}
        )

    def erase(self, service: Service) -> None:
        records = self._services.setdefault(service.name, {})
        for instance in service.instances:
            records.pop(instance.id, None)
        self._keep({(f"_{service.name}._tcp.example", "SRV"): list(records.values())})

    def read(self, service: Service) -> Service:
        """The record with the ids and hosts that were written."""
        instances = []
        for instance in service.instances:
            assert instance.id == instance.address
            address, _, port = instance.address.rpartition(":")
            id, host = self._places[address]
            instances.append(replace(instance, id=id, address=f"{host}:{port}"))
        return replace(service, instances=tuple(sorted(instances, key=lambda one: one.id)))


class ZoneServer:
    """A server of DNS that is at home in `example`, and what is written there."""

    def __init__(self) -> None:
        self.written = WrittenZone(self.keep)

    def keep(self, records: Mapping[tuple[str, str], Sequence[str]]) -> None:
        """Makes these the records of their names and types from now on."""
        raise NotImplementedError

    def take_out(self, name: str, id: str) -> None:
        """Takes an instance out behind everybody's back."""
        self.written.erase(Service(name=name, instances=(Instance(id=id, address=""),)))

    def compact(self) -> None:
        """Nobody keeps the changes of a zone in any case."""


class WrittenDns:
    """Implements `Registry`."""

    def __init__(self, registry: Registry, zone: WrittenZone) -> None:
        self._registry = registry
        self._zone = zone
        self.name = registry.name
        self.address = registry.address

    async def __aenter__(self) -> Self:
        await self._registry.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._registry.__aexit__(kind, error, traceback)

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        with pytest.raises(Forbidden, match="DNS is written elsewhere"):
            await self._registry.register(service, ttl=ttl)
        await self._registry.get(service.name)  # a zone that nobody can ask, nobody writes to
        self._zone.write(service)

    async def deregister(self, service: Service) -> None:
        with pytest.raises(Forbidden, match="DNS is written elsewhere"):
            await self._registry.deregister(service)
        await self._registry.get(service.name)
        self._zone.erase(service)

    async def get(self, name: str) -> tuple[Service, ...]:
        return tuple(self._zone.read(service) for service in await self._registry.get(name))

    async def list(self) -> tuple[Service, ...]:
        return tuple(self._zone.read(service) for service in await self._registry.list())

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        async with self._registry.watch() as events:
            yield _Read(events, self._zone)


class _Read:
    def __init__(self, events: AsyncIterator[Event], zone: WrittenZone) -> None:
        self._events = events
        self._zone = zone

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await anext(self._events)
        return replace(event, service=self._zone.read(event.service))
