"""A registry that is called: `go.micro.registry` at an address, which is `micro registry` or the port of any node.

Several addresses are tried in turn, and the one that answered is kept: two registries that do not share a store would
otherwise be read by turns. Each operation has a connection of its own, as this object has no task that could hold one;
a watch keeps its connection.
"""

import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import trio

from sdk.client import Client
from sdk.config import ClientConfig
from sdk.errors import BadRequest, Cancelled, MicroError, NotFound, RemoteProtocolError, Timeout, Unavailable
from sdk.netaddress import join_address, split_address
from sdk.options import split_addresses
from sdk.reply import ClientStream
from sdk.types import Service, service_to_json

from . import Event
from .once import Once
from .records import check_ttl, merge, split
from .remote import REGISTRY_PORT, REGISTRY_SERVICE, parse_change_untrusted, parse_records_untrusted, relays
from .watch import StreamedWatch, followed

ANSWER_SECONDS = 5.0
"""Until when one address must have answered, or begun a watch."""

SHORT = 1.0
"""A watch that is lost sooner than these seconds after it began is not begun again at once."""

_ELSEWHERE = (Unavailable, Timeout, Cancelled, NotFound, RemoteProtocolError)
"""Errors after which another address may do better; others say that the question was wrong, or who asked."""

_log = logging.getLogger(__name__)


class ServiceRegistry:
    """Implements `Registry`."""

    name = "service"

    def __init__(self, address: str = "") -> None:
        """`address` is `host:port`, or several with commas between; the port of `micro registry` on this host by
        default. Raises `BadRequest`."""
        if "@" in address:  # it is not repeated: it may be a password
            raise BadRequest(
                "--registry-address (MICRO_REGISTRY_ADDRESS) of the registry service has an @: it takes host:port, and "
                "who asks is known by MICRO_PROXY_TOKEN"
            )
        try:
            addresses = split_addresses(address.removeprefix("service://").rstrip("/") or f":{REGISTRY_PORT}")
        except BadRequest as error:
            raise BadRequest(
                f"--registry-address (MICRO_REGISTRY_ADDRESS) of the registry service: {error.detail}"
            ) from None
        self._addresses = [_reachable(each) for each in addresses]
        self.address = ",".join(self._addresses)
        self._config = ClientConfig.from_environment(os.environ)
        self._first = 0
        self._open = False
        self._watches: set[_Watch] = set()
        self._named = Once()

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        for watch in self._watches:
            watch.wake()

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        """See `Registry.register`."""
        split(service)
        check_ttl(ttl)
        options = {} if ttl is None else {"options": {"ttl": ttl}}
        await self._ask("Registry.Register", {**service_to_json(service), **options})

    async def deregister(self, service: Service) -> None:
        """See `Registry.deregister`."""
        split(service)
        await self._ask("Registry.Deregister", service_to_json(service))

    async def get(self, name: str) -> tuple[Service, ...]:
        """See `Registry.get`."""
        return self._records(await self._ask("Registry.GetService", {"service": name}))

    async def list(self) -> tuple[Service, ...]:
        """See `Registry.list`."""
        return self._records(await self._ask("Registry.ListServices", {}))

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Registry.watch`. Where no address answers any more, waiting for an event raises `Unavailable`; whoever
        waits again is told the difference as soon as one does."""
        self.check_open()
        async with Client(self._config, proxy=self._addresses[0]) as client:
            watch = _Watch(self, client)
            self._watches.add(watch)
            try:
                async with followed(watch):
                    yield watch
            finally:
                self._watches.remove(watch)

    # For the watches.

    def check_open(self) -> None:
        """Raises `trio.ClosedResourceError` outside of `async with`."""
        if not self._open:
            raise trio.ClosedResourceError("the registry is not open: use it inside `async with`")

    def in_turn(self) -> Iterator[str]:
        """The addresses, beginning with the one that answered last; to go no further means that this one does."""
        count = len(self._addresses)
        for index in [(self._first + step) % count for step in range(count)]:
            self._first = index
            yield self._addresses[index]

    def read(self, data: Any) -> tuple[Service, ...]:
        """The records of an answer; those that cannot be read are named in the log, once."""
        good, bad = parse_records_untrusted(data)
        for reason in bad:
            self.name_once(reason)
        return good

    def name_once(self, reason: str) -> None:
        """Says in the log what cannot be read, unless it did so before."""
        if self._named.first(reason):
            _log.warning("the registry service at %s has a record that cannot be read: %s", self.address, reason)

    def unavailable(self, failures: dict[str, str]) -> Unavailable:
        """None of the addresses can be used."""
        each = "; ".join(f"{address}: {reason}" for address, reason in failures.items())
        return Unavailable(
            f"no registry answers ({each}): start `micro registry` there, or name another with "
            "--registry-address (MICRO_REGISTRY_ADDRESS)"
        )

    # Inside.

    def _records(self, data: Any) -> tuple[Service, ...]:
        try:
            return merge(piece for service in self.read(data) if service.instances for piece in split(service).values())
        except (RemoteProtocolError, BadRequest) as error:
            raise Unavailable(f"the registry service at {self.address}: {error}") from None

    async def _ask(self, endpoint: str, request: dict[str, Any]) -> Any:
        self.check_open()
        failures: dict[str, str] = {}
        for address in self.in_turn():
            failures[address] = f"no answer within {ANSWER_SECONDS:g} s"
            with trio.move_on_after(ANSWER_SECONDS):  # the default deadline is none where the caller has one
                try:
                    async with Client(self._config, proxy=address) as client:
                        return await client.call(
                            REGISTRY_SERVICE, endpoint, {**request, "relays": relays.get()}, idempotent=True
                        )
                except _ELSEWHERE as error:
                    failures[address] = error.detail
        raise self.unavailable(failures)


class _Watch(StreamedWatch[ClientStream]):
    def __init__(self, registry: ServiceRegistry, client: Client) -> None:
        super().__init__()
        self._registry = registry
        self._client = client
        self._since = 0.0
        self._known = False
        self._waiting = trio.CancelScope()

    async def _learn(self) -> None:
        with trio.CancelScope() as self._waiting:
            self._registry.check_open()
            await super()._learn()

    def wake(self) -> None:
        """The registry is closed: nobody waits any longer."""
        self._waiting.cancel()

    async def begin(self) -> None:
        """Watches at the first address that answers. Raises `Unavailable` when none does."""
        failures: dict[str, str] = {}
        for address in self._registry.in_turn():
            reason = f"no answer within {ANSWER_SECONDS:g} s"
            with trio.move_on_after(ANSWER_SECONDS):
                try:
                    return await self._begin_at(address)
                except trio.EndOfChannel:
                    reason = "it ended the watch"
                except _ELSEWHERE as error:
                    reason = error.detail
            failures[address] = reason
        raise self._registry.unavailable(failures)

    async def _begin_at(self, address: str) -> None:
        async with AsyncExitStack() as stack:
            call = self._client.stream(REGISTRY_SERVICE, "Registry.Watch", {"relays": relays.get()}, proxy=address)
            stream = await stack.enter_async_context(call)
            await stream.receive()  # it says `ready`: what changes from here on is told
            if self._known:
                asked = {"relays": relays.get()}
                reply = await self._client.call(REGISTRY_SERVICE, "Registry.ListServices", asked, proxy=address)
                there = {key for each in self._registry.read(reply) if each.instances for key in split(each)}
                # What is there is told by the watch itself; what went meanwhile can only be found missing.
                self._events += self._view.keep(there)
            self._known, self._since = True, trio.current_time()
            self._source, self._stack = stream, stack.pop_all()

    async def _follow(self, stream: ClientStream) -> None:
        try:
            message = await stream.receive()
        except trio.EndOfChannel:
            return await self._lost("it ended the watch")
        except MicroError as error:
            return await self._lost(error.detail)
        try:
            self._events += self._view.follow([parse_change_untrusted(message)])
        except RemoteProtocolError as error:
            self._registry.name_once(error.detail)

    async def _lost(self, reason: str) -> None:
        short = trio.current_time() - self._since < SHORT
        await self.end()
        if short:
            raise Unavailable(f"the registry service at {self._registry.address}: {reason}")


def _reachable(address: str) -> str:
    """The address to dial: this host where none is named."""
    host, port = split_address(address)
    if not port:
        raise BadRequest("--registry-address (MICRO_REGISTRY_ADDRESS) of the registry service: port 0 is nobody's")
    return join_address(host or "127.0.0.1", port)
