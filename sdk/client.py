"""Calls services: `call` for one answer, `stream` for any number of messages both ways.

With `MICRO_PROXY` every call goes to a node, which finds the service wherever in the network it is; without, straight
to an instance from the registry. No `timeout=` anywhere: the caller's cancel scope is the deadline, and what is left of
it travels with the call. A caller that set none gets `MICRO_CLIENT_REQUEST_TIMEOUT` (5 s) for unary calls.
"""

import itertools
import math
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar, overload

import trio

from .codec import MSGPACK, content_type_of, encode
from .config import ClientConfig
from .directory import Directory, Target, Targets
from .errors import NotFound, Timeout, Unavailable
from .head import IDEMPOTENT, STREAMING, CallHead, metadata_to_pairs, pack_call_head
from .netaddress import split_address
from .pool import Connection, Pool
from .registry import Registry, open_registry
from .reply import ClientStream
from .schema import Convert, converter
from .wire.frame import NO_DEADLINE
from .wire.message import encode_message

T = TypeVar("T")

DEADLINE_GRACE = 0.1
"""An answer `DEADLINE_EXCEEDED` that comes so many seconds before the caller's own deadline, or later, means that
deadline."""


class _Deadline(NamedTuple):
    """When a call is over, and who says so."""

    ms: int
    """What the other end is told."""
    own: float
    """The caller's cancel scope, or infinity."""
    default: float
    """The default of unary calls, or infinity."""


class Client:
    """Calls services; use it inside `async with`, and one for the whole program: its connections are shared by all
    calls.

    async with Client() as client:
        reply = await client.call("greeter", "Greeter.Hello", {"name": "John"})
    """

    def __init__(
        self, config: ClientConfig | None = None, *, proxy: str | None = None, registry: Registry | None = None
    ) -> None:
        """`config` is what the environment says when it is not given; the others take precedence over it.

        `proxy`: a node, as `host:port` or as a name in the registry; "" to call instances directly. `registry`: one
        that is open already. Raises `BadRequest` for a variable that makes no sense.
        """
        self._config = config or ClientConfig.from_environment(os.environ)
        self._proxy = self._config.proxy if proxy is None else proxy
        self._token = self._config.proxy_token.encode(errors="surrogateescape") if self._proxy else b""
        self._registry = registry
        self._fixed: Targets | None = None
        if ":" in self._proxy:
            split_address(self._proxy)
            self._fixed = Targets([Target(self._proxy)])
        self._random = Random()
        self._call_ids = map(int.to_bytes, itertools.count(self._random.getrandbits(127)), itertools.repeat(16))
        self._converters: dict[Any, Convert | None] = {None: None}
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None

    async def __aenter__(self) -> Self:
        if self._manager is not None:
            raise RuntimeError("this client is in use already")
        registry = self._registry
        if registry is None and self._fixed is None:
            registry = open_registry(self._config.registry, self._config.registry_address)
        # Nothing below raises: a nursery that was entered must be left in order.
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._pool = Pool(self._nursery, self._token)
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
        self,
        service: str,
        endpoint: str,
        request: Any = None,
        *,
        reply_type: type[T],
        metadata: Mapping[str, str] | None = None,
        idempotent: bool = False,
        content_type: str = "",
    ) -> T: ...

    @overload
    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any = None,
        *,
        reply_type: None = None,
        metadata: Mapping[str, str] | None = None,
        idempotent: bool = False,
        content_type: str = "",
    ) -> Any: ...

    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any = None,
        *,
        reply_type: Any = None,
        metadata: Mapping[str, str] | None = None,
        idempotent: bool = False,
        content_type: str = "",
    ) -> Any:
        """Calls and returns the answer: plain data, or an instance of `reply_type` (a dataclass, a protobuf message).

        The request goes as msgpack, or as `content_type` says; bytes and protobuf messages go as themselves. A call
        that was provably not run is tried once more, elsewhere, when it does not go through a node (which does that
        itself); one that is `idempotent` also where it may have run.

        Raises the error the handler raised; `NotFound` or `Unimplemented` for a service or endpoint that is not there;
        `Unavailable`, with `may_have_run`, when nobody answered; `Timeout` when the default deadline passed. The
        caller's own `trio.fail_after` raises `trio.TooSlowError`, as always. Cancelled, the handler is cancelled too,
        if it was reached.
        """
        content_type = content_type or content_type_of(request)
        body = encode_message(encode(content_type, request))
        head = self._pack_head(service, endpoint, IDEMPOTENT if idempotent else 0, content_type, metadata)
        convert = self._converter(reply_type)
        targets = self._known(service) or await self._find(service)
        deadline = self._deadline(self._config.request_timeout)
        if not deadline.ms:
            await trio.lowlevel.checkpoint()
        target = targets.choose(self._random, trio.current_time())
        tried: list[Target] = []
        repeated = False
        while True:
            connection = self._pool.connection_to(target.address)
            try:
                return await self._exchange(connection, target, head, body, content_type, convert, deadline)
            except Unavailable as error:
                # Not reached because there is no connection, or it takes no more calls: any other target will do. Not
                # reached, but a connection: the node has tried what there is; an instance that refuses leaves one more
                # try elsewhere.
                refused = not error.may_have_run and not connection.usable
                again = not self._proxy and not repeated and (idempotent or not error.may_have_run)
                tried.append(target)
                others = (self._known(service) or targets).without(tried) if refused or again else None
                if others is not None:
                    target = others.choose(self._random, trio.current_time())
                elif not again:
                    raise _in_context(error, connection, service, endpoint) from None
                repeated = repeated or not refused or others is None
                deadline = self._deadline(deadline.default - trio.current_time())

    @asynccontextmanager
    async def stream(
        self,
        service: str,
        endpoint: str,
        request: Any = None,
        *,
        reply_type: Any = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "",
    ) -> AsyncIterator[ClientStream]:
        """Opens a call with any number of messages both ways; `request`, if given, is the first.

            async with client.stream("greeter", "Greeter.Count", {"to": 3}) as stream:
                async for message in stream: ...

        The handler starts when it has the first message, or `send_eof` without one. Errors of the handler are raised
        where messages are received. Leaving the block early cancels the call. There is no default deadline; otherwise
        errors are those of `call`.
        """
        content_type = content_type or (MSGPACK if request is None else content_type_of(request))
        body = b"" if request is None else encode_message(encode(content_type, request))
        head = self._pack_head(service, endpoint, STREAMING, content_type, metadata)
        convert = self._converter(reply_type)
        connection, target = await self._connect(service)
        deadline = self._deadline(math.inf)
        mux_stream = connection.mux.open(head, body, end=False, ms=deadline.ms)
        stream = ClientStream(mux_stream, content_type, convert)
        target.load.started()
        try:
            await stream.send_rest()
            yield stream
        except Timeout:
            await self._wait_for_own_deadline(deadline)
            raise
        finally:
            target.load.abandoned()
            stream.close()

    # Inside.

    async def _exchange(
        self,
        connection: Connection,
        target: Target,
        head: bytes,
        body: bytes,
        content_type: str,
        convert: Convert | None,
        deadline: _Deadline,
    ) -> Any:
        """One try of a unary call."""
        load, began = target.load, trio.current_time()
        mux_stream = connection.mux.open(head, body, end=True, ms=deadline.ms)
        if deadline.default != math.inf:
            mux_stream.deadline = deadline.default
            self._pool.sweep()
        stream = ClientStream(mux_stream, content_type, convert)
        load.started()
        try:
            if mux_stream.unsent:
                await stream.send_rest()
                await stream.send_eof()
            reply = await stream.only_message()
        except Unavailable:
            # Through a node, only a lost connection is the node's fault.
            load.finished(trio.current_time(), bool(self._proxy) and not connection.port.dead, began)
            raise
        except Timeout:
            load.finished(trio.current_time(), True, began)
            await self._wait_for_own_deadline(deadline)
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

    def _known(self, service: str) -> Targets | None:
        return self._fixed or self._directory.known.get(self._proxy or service)

    async def _find(self, service: str) -> Targets:
        try:
            return await self._directory.find(self._proxy or service)
        except NotFound as error:
            if not self._proxy:
                raise
            raise Unavailable(
                f"no node to call through: {error}. Start one with `micro network` (go.micro.network) or "
                "`micro tunnel` (go.micro.tunnel), or give MICRO_PROXY as host:port"
            ) from None

    async def _connect(self, service: str) -> tuple[Connection, Target]:
        """A connection that stands, to any target: a stream cannot be opened twice."""
        targets = self._known(service) or await self._find(service)
        tried: list[Target] = []
        others: Targets | None = targets
        while others is not None:
            target = others.choose(self._random, trio.current_time())
            connection = self._pool.connection_to(target.address)
            await connection.settled.wait()
            if connection.usable:
                return connection, target
            now = trio.current_time()
            target.load.observe(now, False, now)
            tried.append(target)
            others = targets.without(tried)
        raise Unavailable(f"{service}: no connection to {', '.join(target.address for target in tried)}")

    def _deadline(self, default: float) -> _Deadline:
        """What is left of the caller's deadline or, where there is none, of the default, in seconds."""
        own = trio.current_effective_deadline()
        now = trio.current_time()
        if own != math.inf:
            # Rounded up: whoever else watches this deadline must not be faster than the caller's own scope.
            return _Deadline(_milliseconds(own - now), own, math.inf)
        if default == math.inf:
            return _Deadline(NO_DEADLINE, own, math.inf)
        return _Deadline(_milliseconds(default), own, now + default)

    async def _wait_for_own_deadline(self, deadline: _Deadline) -> None:
        """The other end was a little faster than the caller's own cancel scope, which then has the say."""
        if trio.current_time() >= deadline.own - DEADLINE_GRACE:
            await trio.sleep_until(deadline.own + DEADLINE_GRACE)

    def _pack_head(
        self, service: str, endpoint: str, flags: int, content_type: str, metadata: Mapping[str, str] | None
    ) -> bytes:
        if self._manager is None:
            raise RuntimeError("a client is used inside `async with Client() as client`")
        pairs = metadata_to_pairs(metadata) if metadata else ()
        return pack_call_head(CallHead(service, endpoint, "rpc", flags, content_type, pairs, next(self._call_ids)))

    def _converter(self, reply_type: Any) -> Convert | None:
        try:
            return self._converters[reply_type]
        except KeyError:
            convert = self._converters[reply_type] = converter(reply_type)
            return convert


def _milliseconds(seconds: float) -> int:
    """As OPEN says it, rounded up; a deadline that has passed is 0."""
    return min(int(seconds * 1000) + 1, NO_DEADLINE - 1) if seconds > 0 else 0


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
