"""Kubernetes as a registry that can be written to: what its controllers do, for tests that register.

`register` stands for a pod that becomes ready and `deregister` for one that ends: the slices of its Service are written
at the server as the EndpointSlice controller writes them, a hundred endpoints in each. Everything else is the registry
itself, which is asked to register first and must refuse, for what is wrong with a record in one way and for being read
only in another. A time to live means nothing here: a pod is there until it is not.
"""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, Self

import pytest

from sdk.errors import Forbidden
from sdk.registry import Event, Registry
from sdk.registry.http import HttpClient
from sdk.registry.kubeaccess import Access
from sdk.types import Service

LENGTH: Final = 100
"""Endpoints of a slice; the controller has as many."""


class WrittenKubernetes:
    """Implements `Registry`."""

    def __init__(self, registry: Registry, access: Access) -> None:
        self._registry = registry
        self._access = access
        self._http = HttpClient(access.server, tls=access.tls, server_name=access.server_name)
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{access.namespace}/endpointslices"
        self.name = registry.name
        self.address = registry.address

    async def __aenter__(self) -> Self:
        await self._registry.__aenter__()
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)
        await self._registry.__aexit__(kind, error, traceback)

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        with pytest.raises(Forbidden, match="Kubernetes registers pods by itself"):
            await self._registry.register(service, ttl=ttl)
        await self._write(service, {instance.id: instance.address for instance in service.instances})

    async def deregister(self, service: Service) -> None:
        with pytest.raises(Forbidden, match="Kubernetes registers pods by itself"):
            await self._registry.deregister(service)
        await self._write(service, {})

    async def get(self, name: str) -> tuple[Service, ...]:
        return await self._registry.get(name)

    async def list(self) -> tuple[Service, ...]:
        return await self._registry.list()

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return self._registry.watch()

    async def _write(self, service: Service, addresses: dict[str, str]) -> None:
        """These are the addresses of the record's instances from now on; one without is gone."""
        assert not service.metadata, "a label of a Service says something of instances, and never of the record"
        labels = {"kubernetes.io/service-name": service.name, "micro.mu/version": service.version}
        answer = await self._ask("GET", query={"labelSelector": ",".join(f"{k}={v}" for k, v in labels.items())})
        pods = {
            endpoint["targetRef"]["name"]: f"{endpoint['addresses'][0]}:{item['ports'][0]['port']}"
            for item in answer["items"]
            for endpoint in item["endpoints"]
        }
        pods = {id: address for id, address in pods.items() if id not in {each.id for each in service.instances}}
        wanted = {item["metadata"]["name"]: item for item in _slices(labels, pods | addresses)}
        before = {item["metadata"]["name"]: item for item in answer["items"]}
        # What is new comes first, so that a pod that moves from one slice to another is never in none.
        for name in wanted.keys() - before.keys():
            await self._ask("POST", item=wanted[name])
        for name in sorted(before):
            if name not in wanted:
                await self._ask("DELETE", name)
            else:
                await self._ask("PUT", name, item=wanted[name])

    async def _ask(self, method: str, name: str = "", *, item: Any = None, query: dict[str, str] | None = None) -> Any:
        path = f"{self._path}/{name}" if name else self._path
        headers = (await self._access.credential()).headers
        answer = await self._http.request(method, path, json=item, query=query, headers=headers)
        assert answer.status in {200, 201}, (answer.status, answer.body)
        return json.loads(answer.body)


def _slices(labels: dict[str, str], pods: dict[str, str]) -> list[dict[str, Any]]:
    by_port: dict[str, list[tuple[str, str]]] = {}
    for id, address in pods.items():
        host, _, port = address.rpartition(":")
        by_port.setdefault(port, []).append((id, host))
    made = []
    for port, group in sorted(by_port.items()):
        for at in range(0, len(group), LENGTH):
            said = hashlib.sha256(repr((sorted(labels.items()), port, at)).encode()).hexdigest()
            made.append(
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {"name": f"micro-{said[:16]}", "labels": labels},
                    "addressType": "IPv4",
                    "ports": [{"name": "", "port": int(port), "protocol": "TCP"}],
                    "endpoints": [
                        {
                            "addresses": [host],
                            "conditions": {"ready": True},
                            "targetRef": {"kind": "Pod", "name": id},
                        }
                        for id, host in group[at : at + LENGTH]
                    ],
                }
            )
    return made
