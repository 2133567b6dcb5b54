"""The registry that Kubernetes keeps by itself: the ready pods behind its Services, from EndpointSlices.

It is read only: whoever makes a Service is registered. Reading needs `list` and `watch` of `endpointslices` in
`discovery.k8s.io`. A watch lists what is there and follows from that version on; one whose version is no longer kept
lists again and tells the difference.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Final, Never, Self
from urllib.parse import parse_qsl, urlsplit

import trio

from sdk.errors import BadRequest, Forbidden, RemoteProtocolError, Unauthorized, Unavailable
from sdk.types import Service

from . import Event
from .http import HttpClient, Lines
from .kubeaccess import find_access
from .kubejson import (
    SERVICE_NAME,
    Kind,
    Page,
    Slice,
    Told,
    parse_page_untrusted,
    parse_path_untrusted,
    parse_slice_untrusted,
    parse_told_untrusted,
)
from .records import Change, Key, View, check_ttl, merge, split

logger = logging.getLogger(__name__)

PAGE: Final = 500
"""Slices of one answer; kubectl asks for as many."""
WATCH: Final = 300
"""Seconds after which a watch is begun anew, so that an account that may no longer read notices."""

_GONE = 410


class _Expired(Exception):
    """The version asked for is no longer kept."""


class KubernetesRegistry:
    """Implements `Registry`, but for `register` and `deregister`, which raise `Forbidden`.

    Opening it asks nothing of the server. Its methods raise `Unauthorized` and `Forbidden` where the account may not
    read, besides `Unavailable`.
    """

    name = "kubernetes"

    def __init__(self, address: str = "") -> None:
        """`address` as `kubernetes://NAMESPACE?kubeconfig=FILE&selector=LABELS`, or a namespace.

        The namespace is that of the account unless it is said; `*` stands for all. `selector` is Kubernetes' own, such
        as `team=a,micro.mu/name`. Raises `BadRequest` for what it does not know, and where no cluster is to be found.
        """
        try:
            parts = urlsplit(address if "://" in address else f"kubernetes://{address}")
        except ValueError:
            parts = urlsplit("")
        options = dict(parse_qsl(parts.query))
        if parts.scheme != "kubernetes" or parts.path.strip("/") or not options.keys() <= {"kubeconfig", "selector"}:
            raise BadRequest(
                "--registry-address (MICRO_REGISTRY_ADDRESS) is not kubernetes://NAMESPACE?kubeconfig=FILE&selector=..."
            )
        self._access = find_access(options.get("kubeconfig", ""))
        namespace = parts.netloc or self._access.namespace
        self.address = f"kubernetes://{namespace}"
        within = "" if namespace == "*" else f"/namespaces/{namespace}"
        self._path = f"/apis/discovery.k8s.io/v1{within}/endpointslices"
        self._query = {"labelSelector": ",".join(filter(None, (SERVICE_NAME, options.get("selector", ""))))}
        self._http = HttpClient(self._access.server, tls=self._access.tls)
        self._skipped: set[str] = set()

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        """Raises `Forbidden`: Kubernetes registers by itself the pods behind a Service.

        What no registry takes is refused as everywhere, with `BadRequest`.
        """
        check_ttl(ttl)
        await self._refuse(service)

    async def deregister(self, service: Service) -> None:
        """Raises as `register` does."""
        await self._refuse(service)

    async def get(self, name: str) -> tuple[Service, ...]:
        """See `Registry.get`."""
        return tuple(service for service in await self.list() if service.name == name)

    async def list(self) -> tuple[Service, ...]:
        """See `Registry.list`."""
        _, slices = await self._everything()
        return merge({key: record for one in slices for key, record in one.records.items()}.values())

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Registry.watch`."""
        watch = _Watch(self)
        try:
            await watch.begin()
            yield watch
        finally:
            await watch.end()

    async def _refuse(self, service: Service) -> Never:
        split(service)  # what is no record at all is told first
        await trio.lowlevel.checkpoint()
        self._http.check_open()
        raise Forbidden(
            f"{service.name!r} cannot be registered in {self.address}: Kubernetes registers pods by itself. Make a "
            f"Service for it, with the label micro.mu/name: {service.name} where its own name is another, or choose "
            "another registry with --registry (MICRO_REGISTRY)"
        )

    async def _everything(self) -> tuple[str, tuple[Slice, ...]]:
        """The version, and the slices of that version."""
        while True:
            try:
                page = await self._page("")
                items = page.slices
                while page.more:
                    page = await self._page(page.more)
                    items += page.slices
            except _Expired:  # while it was read
                continue
            return page.version, tuple(found for item in items if (found := self._read(item)) is not None)

    async def _page(self, more: str) -> Page:
        query = {**self._query, "limit": str(PAGE), **({"continue": more} if more else {})}
        answer = await self._http.request("GET", self._path, query=query, headers=await self._access.headers())
        self._check(answer.status)
        try:
            return parse_page_untrusted(answer.body)
        except RemoteProtocolError as error:
            raise self._http.unavailable(str(error)) from None

    @asynccontextmanager
    async def _changes(self, version: str) -> AsyncIterator[Lines]:
        query = {
            **self._query,
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH),
        }
        headers = await self._access.headers()
        async with self._http.stream("GET", self._path, query=query, headers=headers) as lines:
            self._check(lines.status)
            yield lines

    def _check(self, status: int) -> None:
        if status == 200:
            return
        if status == _GONE:
            raise _Expired
        if status == 401:
            raise Unauthorized(f"the registry {self.address} at {self._http.url} does not know us: renew the token")
        if status == 403:
            raise Forbidden(
                f"the registry {self.address} at {self._http.url} may not be read: the account needs a role with the "
                "verbs list and watch for endpointslices of discovery.k8s.io"
            )
        raise self._http.unavailable(f"it answers {status}")

    def _read(self, item: object) -> Slice | None:
        try:
            return parse_slice_untrusted(item)
        except RemoteProtocolError as error:
            try:
                path = parse_path_untrusted(item)
            except RemoteProtocolError:
                path = "without a name"
            if f"{path}: {error}" not in self._skipped:
                self._skipped.add(f"{path}: {error}")
                logger.warning("Registry %s: the EndpointSlice %s is skipped: %s", self.address, path, error)
            return None


class _Watch:
    """A class and not an async generator: one that was cancelled or raised can be asked again."""

    def __init__(self, registry: KubernetesRegistry) -> None:
        self._registry = registry
        self._view = View()
        self._events: deque[Event] = deque()
        self._slices: dict[str, Slice] = {}
        """By their paths. An instance that moves from one to another stands in both for a while, or in none."""
        self._version = ""
        """Empty: to be listed again."""
        self._lines: Lines | None = None
        self._stack = AsyncExitStack()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._lines is None:
                await self.begin()
            else:
                await self._follow(self._lines)
        return self._events.popleft()

    async def begin(self) -> None:
        """Lists what is there, unless the version known is still kept, and follows from there on."""
        if not self._version:
            version, slices = await self._registry._everything()
            self._slices = {one.path: one for one in slices}
            self._events += self._view.replace(self._records())
            self._version = version
        try:
            self._lines = await self._stack.enter_async_context(self._registry._changes(self._version))
        except _Expired:
            self._version = ""

    async def end(self) -> None:
        """Closes the connection that the changes come over."""
        stack, self._stack, self._lines = self._stack, AsyncExitStack(), None
        await stack.aclose()

    async def _follow(self, lines: Lines) -> None:
        try:
            line = await anext(lines)
            told = parse_told_untrusted(line)
        except StopAsyncIteration:  # after its time
            await self.end()
        except (Unavailable, RemoteProtocolError):  # to begin again says whether the server is there
            self._version = ""
            await self.end()
        else:
            await self._take(told)

    async def _take(self, told: Told) -> None:
        self._version = told.version
        if told.kind in {Kind.EXPIRED, Kind.BROKEN}:
            await self.end()
            if told.kind is Kind.BROKEN:
                raise self._registry._http.unavailable(f"it ended the watch: {told.reason}")
        elif told.kind is not Kind.MARK:
            self._change(told)

    def _change(self, told: Told) -> None:
        path = parse_path_untrusted(told.slice)
        before = self._slices.pop(path, None)
        now = self._registry._read(told.slice) if told.kind is Kind.STANDS else None
        if now is not None:
            self._slices[path] = now
        keys = [*(before.records if before else ()), *(now.records if now else ())]
        self._events += self._view.follow([Change(key, self._record(key)) for key in dict.fromkeys(keys)])

    def _record(self, key: Key) -> Service | None:
        return next((one.records[key] for one in self._slices.values() if key in one.records), None)

    def _records(self) -> dict[Key, Service]:
        return {key: record for one in reversed(self._slices.values()) for key, record in one.records.items()}
