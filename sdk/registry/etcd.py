"""The registry in etcd v3 as go-micro keeps it: one key for each instance, on a lease where it has a time to live.

A renewal keeps the lease and writes only what is no longer there: whatever was deleted or changed by others comes back.
A watch lists what is there and follows from that revision on; one that breaks, or whose log was compacted, lists again
and tells the difference.
"""

import logging
import math
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, NamedTuple, Self

import trio

from sdk.errors import BadRequest, Forbidden, RemoteProtocolError, Unavailable
from sdk.types import Service

from . import Event
from .etcdclient import Changes, EtcdClient
from .etcdjson import (
    PREFIX,
    Kept,
    compare_requests,
    delete_requests,
    parse_number_untrusted,
    parts,
    path_of,
    put_request,
    service_prefix,
    text_of,
)
from .held import Held
from .once import Once
from .records import Change, Key, check_ttl, key_of, merge, parse_record_untrusted, split
from .url import parse_url
from .watch import StreamedWatch, followed

logger = logging.getLogger(__name__)

PORT: Final = 2379
"""Where etcd listens for clients."""


class _Held(NamedTuple):
    """What this registry object has written under one key."""

    lease: int
    """0 for none."""
    ttl: float
    text: str
    revision: int
    """It is the key's as long as nobody else writes or deletes it."""


class EtcdRegistry:
    """Implements `Registry`.

    Opening it asks nothing of the server, so that a program starts while etcd is away. Besides `Unavailable` its
    methods raise `Unauthorized` and `Forbidden` when etcd knows the user otherwise. Of a record with more instances
    than etcd takes at once (100, or a megabyte of them) each part is written all or nothing.
    """

    name = "etcd"

    def __init__(self, address: str = "") -> None:
        """`address` as `etcd://user:password@host:port,host2:port`, `etcds://...?ca=FILE&cert=FILE&key=FILE`, or hosts.

        Raises `BadRequest` where it is none of these, or names a file that cannot be used.
        """
        url = parse_url(address, scheme="etcd", port=PORT)
        self.address = url.shown
        self._client = EtcdClient(url)
        self._changing = trio.Lock()
        self._held = Held[_Held]()
        self._skipped = Once()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leaves what was registered where it is: a program that goes deregisters it, and a lease runs out."""
        await self._client.__aexit__(kind, error, traceback)

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        """See `Registry.register`. etcd counts whole seconds: a time to live is rounded up to them."""
        texts = {path_of(key): text_of(record) for key, record in split(service).items()}
        seconds = check_ttl(ttl)
        async with self._changing:
            await self._register(texts, seconds)

    async def deregister(self, service: Service) -> None:
        """See `Registry.deregister`."""
        paths = [path_of(key) for key in split(service)]
        async with self._changing:
            for request in delete_requests(paths):
                await self._client.ask("/v3/kv/txn", request)
            await self._revoke([held for path in paths if (held := self._held.pop(path)) is not None])

    async def get(self, name: str) -> tuple[Service, ...]:
        """See `Registry.get`."""
        _, kept = await self._client.everything(service_prefix(name))
        return merge(record for record in self._records(kept).values() if record.name == name)

    async def list(self) -> tuple[Service, ...]:
        """See `Registry.list`."""
        _, kept = await self._client.everything(PREFIX)
        return merge(self._records(kept).values())

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """See `Registry.watch`."""
        return followed(_Watch(self))

    async def _register(self, texts: Mapping[str, str], ttl: float) -> None:
        if await self._renew(texts, ttl):
            return
        before = [held for path in texts if (held := self._held.get(path)) is not None]
        lease = 0
        if not math.isinf(ttl):
            answer = await self._client.ask("/v3/lease/grant", {"TTL": str(math.ceil(ttl))})
            lease = self._number(answer.get("ID"))
        try:
            for part in parts(texts):
                revision = self._revision(await self._client.ask("/v3/kv/txn", put_request(part, lease)))
                for path, text in part.items():
                    self._held.keep(path, _Held(lease, ttl, text, revision), ttl)
        except (BadRequest, Forbidden):
            # Whoever may not write tries again all the same, with a new lease each time.
            await self._revoke([_Held(lease, ttl, "", 0)])
            raise
        await self._revoke(before)

    async def _renew(self, texts: Mapping[str, str], ttl: float) -> bool:
        """Whether all of this stands as we wrote it, on one lease that lives on."""
        held = {path: one for path in texts if (one := self._held.get(path)) is not None}
        if len(held) < len(texts) or any((one.ttl, one.text) != (ttl, texts[path]) for path, one in held.items()):
            return False
        leases = {one.lease for one in held.values()}
        if len(leases) > 1:
            return False
        for lease in leases - {0}:  # where it has ended, so have its keys, and the comparison fails
            await self._client.ask("/v3/lease/keepalive", {"ID": str(lease)})
        for request in compare_requests({path: one.revision for path, one in held.items()}):
            if (await self._client.ask("/v3/kv/txn", request)).get("succeeded") is not True:
                return False
        for path, one in held.items():
            self._held.keep(path, one, ttl)
        return True

    async def _revoke(self, left: Iterable[_Held]) -> None:
        """Gives back the leases that nothing is held by any more."""
        for lease in {held.lease for held in left} - {held.lease for held in self._held.values()} - {0}:
            try:
                await self._client.ask("/v3/lease/revoke", {"ID": str(lease)})
            except Unavailable:
                pass  # it ends by itself, and what was asked for is done

    def _records(self, kept: Iterable[Kept]) -> dict[str, Service]:
        return {one.path: record for one in kept if (record := self._read(one)) is not None}

    def _read(self, kept: Kept) -> Service | None:
        if kept.value is None:
            return None
        try:
            record = parse_record_untrusted(kept.value)
            if len(record.instances) != 1:
                raise RemoteProtocolError(f"it has {len(record.instances)} nodes, not one")
            if path_of(key_of(record)) != kept.path:
                raise RemoteProtocolError("it is the record of something else")
        except RemoteProtocolError as error:
            if self._skipped.first(kept.path):
                logger.warning("Registry %s: the record %r is skipped: %s", self.address, kept.path, error)
            return None
        self._skipped.over(kept.path)
        return record

    def _revision(self, answer: Mapping[str, object]) -> int:
        header = answer.get("header")
        return self._number(header.get("revision") if isinstance(header, dict) else None)

    def _number(self, data: object) -> int:
        try:
            return parse_number_untrusted(data)
        except RemoteProtocolError as error:
            raise Unavailable(f"the registry {self.address} cannot be used: {error}") from None


class _Watch(StreamedWatch[Changes]):
    def __init__(self, registry: EtcdRegistry) -> None:
        super().__init__()
        self._registry = registry
        self._keys: dict[str, Key] = {}
        """What stands under each key of etcd, as the view calls it: a version is in the record only."""

    async def begin(self) -> None:
        """Lists what is there and follows from there on."""
        client = self._registry._client
        revision, kept = await client.everything(PREFIX)
        self._source = await self._stack.enter_async_context(client.changes(PREFIX, revision + 1))
        records = self._registry._records(kept)
        self._keys = {path: key_of(record) for path, record in records.items()}
        self._events += self._view.replace({key_of(record): record for record in records.values()})

    async def _follow(self, changes: Changes) -> None:
        try:
            told = await changes.next()
        except Unavailable:  # to begin again finds another server, or says that there is none
            await self.end()
            return
        for one in told.changes:
            self._events += self._view.follow(self._translate(one))
        if told.ended:
            await self.end()
            if not told.compacted:
                raise Unavailable(f"the registry {self._registry.address} ended the watch: {told.ended}")

    def _translate(self, kept: Kept) -> list[Change]:
        record = self._registry._read(kept)
        before, now = self._keys.pop(kept.path, None), None
        if record is not None:
            now = self._keys[kept.path] = key_of(record)
        gone = [Change(before, None)] if before is not None and before != now else []
        return gone + ([Change(now, record)] if now is not None else [])
