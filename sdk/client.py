"""Calls services: `call` for one answer, `stream` for any number of messages both ways.

With `MICRO_PROXY` every call goes to a node, which finds the service wherever in the network it is; without, straight
to an instance from the registry. No `timeout=` anywhere: the caller's cancel scope is the deadline, and what is left of
it travels with the call. A caller that set none gets `MICRO_CLIENT_REQUEST_TIMEOUT` (5 s) for unary calls.
"""

import itertools
import math
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import trio

from .codec import MSGPACK, content_type_of, encode
from .config import ClientConfig
from .deadline import Deadline, deadline
from .directory import Directory, Filter, Target, Targets
from .errors import NotFound, Timeout, Unavailable
from .head import IDEMPOTENT, STREAMING, CallHead, Metadata, pack_call_head
from .metadata import around, merged
from .options import Options, Way, split_addresses, way_of
from .pool import Connection, Pool
from .registry import Registry, open_registry
from .reply import ClientStream
from .schema import Convert, converter
from .wire.message import encode_message

T = TypeVar("T")

MOST_FIXED = 1024
"""Addresses that calls were given are remembered with what is known of them, so many at a time."""

MOST_HEADS = 256
"""Heads of calls that are remembered, packed but for the call id."""


class Client:
    """Calls services; use it inside `async with`, and one for the whole program: its connections are shared by all
    calls.

    async with Client() as client:
        reply = await client.call("greeter", "Greeter.Hello", {"name": "John"})
    """

    def __init__(
        self, config: ClientConfig | None = None, *, registry: Registry | None = None, **options: Unpack[Options]
    ) -> None:
        """`config` is what the environment says when it is not given; `registry` is one that is open already. `options`
        hold for all calls that are not told otherwise, and take precedence over `config`.

        Raises `BadRequest` for a variable or an address that makes no sense, `TypeError` for an option that does not
        exist.
        """
        self._config = config or ClientConfig.from_environment(os.environ)
        self._registry = registry
        self._directory: Directory | None = None
        self._random = Random()
        self._fixed: dict[str, Targets] = {}
        self._options: Options = {"proxy": self._config.proxy, "retries": self._config.retries, **options}
        self._way = way_of(self._options, {}, self._fixed_targets)
        self._call_ids = map(int.to_bytes, itertools.count(self._random.getrandbits(127)), itertools.repeat(16))
        self._heads: dict[tuple[str, str, int, str, Metadata], bytes] = {}
        self._converters: dict[Any, Convert | None] = {None: None}
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None

    async def __aenter__(self) -> Self:
        if self._manager is not None:
            raise RuntimeError("this client is in use already")
        registry = self._registry
        if registry is None and self._way.fixed is None:
            registry = open_registry(self._config.registry, self._config.registry_address)
        # Nothing below raises: a nursery that was entered must be left in order.
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._pool = Pool(self._nursery)
        token = self._config.proxy_token.encode(errors="surrogateescape")
        self._nodes = Pool(self._nursery, token) if token else self._pool  # instances are not shown the token
        self._directory = None
        if registry is not None:
            self._directory = Directory(registry, self._nursery, enter=self._registry is None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._manager is not None
        manager, self._manager = self._manager, None
        self._nursery.cancel_scope.cancel()
        try:
            return await manager.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            if error is not None and all(each in _leaves(error) for each in _leaves(group)):
                return False  # the caller's own error leaves as it is, not in the nursery's group
            raise

    @overload
    async def call(
        self, service: str, endpoint: str, request: Any = None, *, reply_type: type[T], **options: Unpack[Options]
    ) -> T: ...

    @overload
    async def call(
        self, service: str, endpoint: str, request: Any = None, *, reply_type: None = None, **options: Unpack[Options]
    ) -> Any: ...

    async def call(
        self, service: str, endpoint: str, request: Any = None, *, reply_type: Any = None, **options: Unpack[Options]
    ) -> Any:
        """Calls and returns the answer: plain data, or an instance of `reply_type` (a dataclass, a protobuf message).

        The request goes as msgpack, or as `content_type` says; bytes and protobuf messages go as themselves. A call
        that was provably not run is tried once more (`retries`), elsewhere, when it does not go through a node (which
        does that itself); one that is `idempotent` also where it may have run. A node that is gone is no such try:
        another takes the call, if several were named. All `options` are told in `sdk.options.Options`.

        Raises the error the handler raised; `NotFound` or `Unimplemented` for a service or endpoint that is not there;
        `Unavailable`, with `may_have_run`, when nobody answered; `Timeout` when the default deadline passed. The
        caller's own `trio.fail_after` raises `trio.TooSlowError`, as always. Cancelled, the handler is cancelled too,
        if it was reached.
        """
        way = way_of(self._options, options, self._fixed_targets) if options else self._way
        content_type = way.content_type or content_type_of(request)
        body = encode_message(encode(content_type, request))
        head = self._pack_head(service, endpoint, IDEMPOTENT if way.idempotent else 0, content_type, way)
        convert = self._converter(reply_type)
        wanted = way.filter_for(endpoint)
        targets = self._known(service, way, wanted) or await self._find(service, way, wanted)
        due = deadline(self._config.request_timeout)
        if not due.ms:
            await trio.lowlevel.checkpoint()
        target = targets.choose(self._random, trio.current_time(), way.strategy, way.key)
        pool = self._nodes if way.through_node else self._pool
        tried: list[Target] = []
        retries = way.retries
        while True:
            connection = pool.connection_to(target.address, grpc=target.grpc)
            try:
                return await self._exchange(pool, connection, target, head, body, content_type, convert, due, way)
            except Unavailable as error:
                # Not reached because there is no connection, or it takes no more calls: any other target will do. Not
                # reached, but a connection: the node has tried what there is; an instance that refuses leaves one more
                # try elsewhere. A node that is lost tries nothing any more.
                refused = not error.may_have_run and not connection.usable
                safe = way.idempotent or not error.may_have_run
                again = retries > 0 and safe and (not way.through_node or connection.port.dead)
                tried.append(target)
                known = self._known(service, way, wanted) or targets
                others = known.without(tried) if refused or again else None
                if others is not None:
                    target = others.choose(self._random, trio.current_time(), way.strategy, way.key)
                elif not again:
                    raise _in_context(error, connection, service, endpoint) from None
                if not refused or others is None:
                    retries -= 1
                due = deadline(due.default - trio.current_time())

    @asynccontextmanager
    async def stream(
        self, service: str, endpoint: str, request: Any = None, *, reply_type: Any = None, **options: Unpack[Options]
    ) -> AsyncIterator[ClientStream]:
        """Opens a call with any number of messages both ways; `request`, if given, is the first.

            async with client.stream("greeter", "Greeter.Count", {"to": 3}) as stream:
                async for message in stream: ...

        The handler starts when it has the first message, or `send_eof` without one. Errors of the handler are raised
        where messages are received. Leaving the block early cancels the call. There is no default deadline; otherwise
        options and errors are those of `call`.
        """
        way = way_of(self._options, options, self._fixed_targets) if options else self._way
        content_type = way.content_type or (MSGPACK if request is None else content_type_of(request))
        body = b"" if request is None else encode_message(encode(content_type, request))
        head = self._pack_head(service, endpoint, STREAMING, content_type, way)
        convert = self._converter(reply_type)
        connection, target = await self._connect(service, way, way.filter_for(endpoint))
        due = deadline(math.inf)
        mux_stream = connection.mux.open(head, body, end=False, ms=due.ms)
        stream = ClientStream(mux_stream, content_type, convert)
        target.load.started()
        try:
            await stream.send_rest()
            yield stream
        except Timeout:
            await due.wait_for_own()
            raise
        finally:
            target.load.abandoned()
            stream.close()

    # Inside.

    async def _exchange(
        self,
        pool: Pool,
        connection: Connection,
        target: Target,
        head: bytes,
        body: bytes,
        content_type: str,
        convert: Convert | None,
        due: Deadline,
        way: Way,
    ) -> Any:
        """One try of a unary call."""
        load, began = target.load, trio.current_time()
        mux_stream = connection.mux.open(head, body, end=True, ms=due.ms)
        if due.default != math.inf:
            mux_stream.deadline = due.default
            pool.sweep()
        stream = ClientStream(mux_stream, content_type, convert)
        load.started()
        try:
            if mux_stream.unsent:
                await stream.send_rest()
                await stream.send_eof()
            reply = await stream.only_message()
        except Unavailable:
            # Through a node, only a lost connection is the node's fault.
            load.finished(trio.current_time(), way.through_node and not connection.port.dead, began)
            raise
        except Timeout:
            load.finished(trio.current_time(), True, began)
            await due.wait_for_own()
            raise
        except BaseException as error:
            if isinstance(error, trio.Cancelled):
                load.abandoned()
            else:
                load.finished(trio.current_time(), True, began)
            raise
        else:
            load.finished(trio.current_time(), True, began)
            return reply
        finally:
            stream.close()

    def _known(self, service: str, way: Way, wanted: Filter | None) -> Targets | None:
        targets = way.fixed
        if targets is None and self._directory is not None:
            targets = self._directory.known.get(way.node or service)
            if wanted is not None and targets is not None:
                return targets.matching(wanted)
        return targets

    async def _find(self, service: str, way: Way, wanted: Filter | None) -> Targets:
        if self._directory is None:  # the client goes through a node at an address, this call does not
            registry = open_registry(self._config.registry, self._config.registry_address)
            self._directory = Directory(registry, self._nursery, enter=True)
        try:
            found = await self._directory.find(way.node or service)
        except NotFound as error:
            if not way.through_node:
                raise
            raise Unavailable(
                f"no node to call through: {error}. Start one with `micro network` (go.micro.network) or "
                "`micro tunnel` (go.micro.tunnel), or give MICRO_PROXY as host:port"
            ) from None
        if wanted is None:
            return found
        if (passing := found.matching(wanted)) is None:
            raise NotFound(f"{service} is in the registry, but no instance of {wanted}")
        return passing

    async def _connect(self, service: str, way: Way, wanted: Filter | None) -> tuple[Connection, Target]:
        """A connection that stands, to any target: a stream cannot be opened twice."""
        targets = self._known(service, way, wanted) or await self._find(service, way, wanted)
        pool = self._nodes if way.through_node else self._pool
        tried: list[Target] = []
        others: Targets | None = targets
        while others is not None:
            target = others.choose(self._random, trio.current_time(), way.strategy, way.key)
            connection = pool.connection_to(target.address, grpc=target.grpc)
            await connection.settled.wait()
            if connection.usable:
                return connection, target
            now = trio.current_time()
            target.load.observe(now, False, now)
            tried.append(target)
            others = targets.without(tried)
        raise Unavailable(f"{service}: no connection to {', '.join(target.address for target in tried)}")

    def _fixed_targets(self, addresses: str) -> Targets:
        """The targets at these addresses, with what is known of them."""
        targets = self._fixed.get(addresses)
        if targets is None:
            if len(self._fixed) >= MOST_FIXED:
                del self._fixed[next(iter(self._fixed))]
            targets = Targets([Target(address) for address in split_addresses(addresses)])
            self._fixed[addresses] = targets
        return targets

    def _pack_head(self, service: str, endpoint: str, flags: int, content_type: str, way: Way) -> bytes:
        if self._manager is None:
            raise RuntimeError("a client is used inside `async with Client() as client`")
        metadata = way.metadata
        if (context := around.get()) is not None and context.sent:
            metadata = merged(merged(metadata, context.sent), way.own)
        key = (service, endpoint, flags, content_type, metadata)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= MOST_HEADS:
                self._heads.clear()
            head = pack_call_head(CallHead(service, endpoint, "rpc", flags, content_type, metadata, bytes(16)))[:-16]
            self._heads[key] = head
        return head + next(self._call_ids)

    def _converter(self, reply_type: Any) -> Convert | None:
        try:
            return self._converters[reply_type]
        except KeyError:
            convert = self._converters[reply_type] = converter(reply_type)
            return convert


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group of groups."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


def _in_context(error: Unavailable, connection: Connection, service: str, endpoint: str) -> Unavailable:
    """A lost connection knows its address only; what came over one is a sentence already."""
    if not connection.port.dead:
        return error
    return Unavailable(f"{service} {endpoint}: {error.detail}", may_have_run=error.may_have_run)
