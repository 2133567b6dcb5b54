"""The registry that Kubernetes keeps by itself: the ready pods behind its Services, from EndpointSlices.

It is read only: whoever makes a Service is registered. Reading needs `list` and `watch` of `endpointslices` in
`discovery.k8s.io`. A watch lists what is there and follows from that version on; one whose version is no longer kept
lists again and tells the difference.
"""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Never, Self
from urllib.parse import parse_qsl, urlsplit

import trio

from sdk.errors import BadRequest, Forbidden, MicroError, RemoteProtocolError, Unavailable
from sdk.types import Service

from . import Event
from .http import Lines
from .kubeaccess import find_access
from .kubeclient import Expired, KubeClient
from .kubejson import (
    LABEL_VALUE,
    LABELS,
    SERVICE_NAME,
    Kind,
    Slice,
    Told,
    parse_path_untrusted,
    parse_slice_untrusted,
    parse_told_untrusted,
)
from .kubeslices import Slices
from .once import Once
from .records import check_ttl, merge, split
from .watch import StreamedWatch, followed

logger = logging.getLogger(__name__)

QUIET: Final = 25.0
"""Seconds without a line after which a watch asks whether the server answers at all. client-go asks after 30, by a ping
of HTTP/2, and waits 15 for the answer."""
SILENCE: Final = 90.0
"""Seconds without a line after which a watch is begun anew though the server answers: what is between may have
forgotten it. A server sends a bookmark every minute, and where it sends none nothing is lost."""
PAUSES: Final = (0.0, 0.0, 0.1, 0.5, 1.0)
"""Seconds before a watch is begun again, by how often in a row it ended without a line that could be read."""

# Slices read without a pause: 10,000 of them are half a second, in which a node would carry nothing.
_AT_ONCE = 100


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
        access = find_access(options.get("kubeconfig", ""))
        namespace = parts.netloc or access.namespace
        self.address = f"kubernetes://{namespace}"
        self.client = KubeClient(access, namespace, options.get("selector", ""))
        """For its watches."""
        self._named = Once()

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.client.__aexit__(kind, error, traceback)

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
        """See `Registry.get`. What cannot be a label is the name of nothing."""
        items: list[object] = []
        if LABEL_VALUE.fullmatch(name) is None:
            await trio.lowlevel.checkpoint()
            self.client.check_open()
        else:
            for label in (SERVICE_NAME, f"{LABELS}name"):  # either names it, and a selector knows no "or"
                items += (await self.client.everything(f"{label}={name}"))[1]
        records = (await self.read_all(items)).records().values()
        return merge(record for record in records if record.name == name)

    async def list(self) -> tuple[Service, ...]:
        """See `Registry.list`."""
        _, items = await self.client.everything()
        return merge((await self.read_all(items)).records().values())

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """See `Registry.watch`."""
        return followed(_Watch(self))

    # For the watches.

    async def read_all(self, items: Iterable[object]) -> Slices:
        """Reads slices; what cannot be read of them is named in the log, once, and left out."""
        slices = Slices()
        for number, item in enumerate(items):
            if number % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            if (found := self.read(item)) is not None:
                slices.put(found.path, found)
        return slices

    def read(self, item: object) -> Slice | None:
        """Reads one slice, as `read_all` does."""
        try:
            found = parse_slice_untrusted(item)
        except RemoteProtocolError as error:
            try:
                path = parse_path_untrusted(item)
            except RemoteProtocolError:
                path = "without a name"
            self._name_once(f"the EndpointSlice {path} is skipped: {error}")
            return None
        for reason in found.bad:
            self._name_once(f"endpoints of the EndpointSlice {found.path} are skipped: {reason}")
        return found

    # Inside.

    def _name_once(self, what: str) -> None:
        if self._named.first(what):
            logger.warning("Registry %s: %s", self.address, what)

    async def _refuse(self, service: Service) -> Never:
        split(service)  # what is no record at all is told first
        await trio.lowlevel.checkpoint()
        self.client.check_open()
        raise Forbidden(
            f"{service.name!r} cannot be registered in {self.address}: Kubernetes registers pods by itself. Make a "
            f"Service for it, with the label micro.mu/name: {service.name} where its own name is another, or choose "
            "another registry with --registry (MICRO_REGISTRY)"
        )


class _Watch(StreamedWatch[Lines]):
    def __init__(self, registry: KubernetesRegistry) -> None:
        super().__init__()
        self._registry = registry
        self._slices = Slices()
        self._version = ""
        """Empty: to be listed again."""
        self._heard = 0.0
        """When the last line came, or the watch began; on trio's clock."""
        self._answered = 0.0
        """When the server last said that it is there."""
        self._fruitless = 0
        """How often in a row it was begun without a line that could be read."""

    async def begin(self) -> None:
        """Lists what is there, unless the version known is still kept, and follows from there on."""
        await trio.sleep(PAUSES[min(self._fruitless, len(PAUSES) - 1)])
        self._fruitless += 1
        client = self._registry.client
        if not self._version:
            version, items = await client.everything()
            self._slices = await self._registry.read_all(items)
            self._events += self._view.replace(self._slices.records())
            self._version = version
        try:
            self._source = await self._stack.enter_async_context(client.changes(self._version))
        except Expired:
            self._version = ""
        except Unavailable:  # of a server that was set back to an older state no version known here is to come
            self._version = ""
            raise
        self._heard = trio.current_time()

    async def _follow(self, lines: Lines) -> None:
        told = None
        # Counted from what was heard, however often a wait is cancelled: who looks for a moment at a time notices.
        quiet, silent = max(self._heard, self._answered) + QUIET, self._heard + SILENCE
        try:
            with trio.move_on_at(min(quiet, silent)):
                told = parse_told_untrusted(await anext(lines))
        except StopAsyncIteration:  # after its time
            pass
        except (Unavailable, RemoteProtocolError):  # to begin again says whether the server is there
            self._version = ""
        else:
            if told is None and quiet < silent:
                await self._ask()
                return
        if told is None:
            await self.end()
            return
        self._heard, self._fruitless = trio.current_time(), 0
        await self._take(told)

    async def _ask(self) -> None:
        """A server that was stopped, or has become a bridge to nowhere, keeps connections and says nothing."""
        try:
            await self._registry.client.check_answers()
        except MicroError:
            await self.end()
            raise
        self._answered = trio.current_time()

    async def _take(self, told: Told) -> None:
        self._version = told.version
        if told.kind in {Kind.EXPIRED, Kind.BROKEN}:
            await self.end()
            if told.kind is Kind.BROKEN:
                raise self._registry.client.unavailable(f"it ended the watch: {told.reason}")
        elif told.kind is not Kind.MARK:
            self._change(told)

    def _change(self, told: Told) -> None:
        now = self._registry.read(told.slice) if told.kind is Kind.STANDS else None
        try:
            path = parse_path_untrusted(told.slice)
        except RemoteProtocolError:  # that of a new one was named; of one that is gone nobody knows which
            return
        self._events += self._view.follow(self._slices.put(path, now))
