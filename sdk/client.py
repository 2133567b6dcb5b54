"""Calls services: `call` for one answer, `stream` for any number of messages both ways.

With `MICRO_PROXY` every call goes to a node, which finds the service wherever in the network it is; without, straight
to an instance from the registry. No `timeout=` anywhere: the caller's cancel scope is the deadline, and what is left of
it travels with the call. A caller that set none gets `MICRO_CLIENT_REQUEST_TIMEOUT` (5 s) for unary calls.
"""

import itertools
import math
import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import trio

from .arguments import WRAPPERS, check, kind_of
from .callees import Callees
from .codec import MSGPACK, content_type_of, encode
from .config import ClientConfig
from .deadline import Deadline, deadline
from .directory import Target
from .errors import Timeout, Unavailable
from .head import IDEMPOTENT, STREAMING, CallHead, Metadata, check_names, pack_call_head
from .loop import check_loop
from .metadata import around, merged
from .opening import Opening
from .options import Options, Way, way_of
from .pool import Connection, Pool
from .registry import Registry, check_open
from .reply import ClientStream
from .schema import Convert, converter
from .wire.message import encode_message
from .wrapping import CallWrapper, Kind, Opened, OutgoingCall, compose

T = TypeVar("T")

MOST_HEADS = 256
"""Heads of calls that are remembered, packed but for the call id."""


class Client:
    """Calls services; use it inside `async with`, and one for the whole program: its connections are shared by all
    calls.

    async with Client() as client:
        reply = await client.call("greeter", "Greeter.Hello", {"name": "John"})
    """

    def __init__(
        self,
        config: ClientConfig | None = None,
        *,
        registry: Registry | None = None,
        wrappers: Sequence[CallWrapper] = (),
        **options: Unpack[Options],
    ) -> None:
        """`config` is what the environment says when it is not given; `registry` is one that is open already;
        `wrappers` are put around each call, the first outermost (see `sdk.wrapping`). `options` hold for all calls that
        are not told otherwise, and take precedence over `config`.

        Raises `BadRequest` for a variable or an address that makes no sense, `TypeError` for an option that does not
        exist, and for an argument of another type than is asked for.
        """
        if config is not None and not isinstance(config, ClientConfig):
            raise TypeError(
                f"Client: config is a ClientConfig, not {kind_of(config)}: whom to call is said by name, "
                'Client(address="host:port"), Client(proxy="host:port") for a node, or Client(registry=...)'
            )
        check("Client", _WANTED, {"wrappers": wrappers})
        self._config = config or ClientConfig.from_environment(os.environ)
        self._random = Random()
        self._callees = Callees(self._config, check_open(registry), self._random)
        self._options: Options = {"proxy": self._config.proxy, "retries": self._config.retries, **options}
        self._way = way_of(self._options, {}, self._callees.at)
        self._call_ids = map(int.to_bytes, itertools.count(self._random.getrandbits(127)), itertools.repeat(16))
        self._heads: dict[tuple[str, str, int, str, Metadata], bytes] = {}
        self._converters: dict[Any, Convert | None] = {None: None}
        self._wrapped_call = compose(wrappers, self._call_wrapped)
        self._wrapped_stream = compose(wrappers, self._open_wrapped)
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None

    async def __aenter__(self) -> Self:
        check_loop()
        if self._manager is not None:
            raise RuntimeError("this client is in use already")
        registry = self._callees.choose_registry(self._way)
        # Nothing below raises: a nursery that was entered must be left in order.
        self._thread = threading.get_ident()
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._callees.enter(self._nursery, registry)
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

    @overload
    async def call(
        self, service: str, endpoint: str, request: Any = None, *, reply_type: object, **options: Unpack[Options]
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
        if self._wrapped_call is not None:
            return await self._wrapped_call(self._outgoing(Kind.UNARY, service, endpoint, request, reply_type, options))
        return await self._call(service, endpoint, request, reply_type, options)

    def stream(
        self, service: str, endpoint: str, request: Any = None, *, reply_type: Any = None, **options: Unpack[Options]
    ) -> AbstractAsyncContextManager[ClientStream]:
        """Opens a call with any number of messages both ways; `request`, if given, is the first.

            async with client.stream("greeter", "Greeter.Count", {"to": 3}) as stream:
                async for message in stream: ...

        The handler starts when it has the first message, or `send_eof` without one. Errors of the handler are raised
        where messages are received. Leaving the block early cancels the call. There is no default deadline; otherwise
        options and errors are those of `call`.
        """
        return Opening(self._stream(service, endpoint, request, reply_type, options))

    # Inside.

    @asynccontextmanager
    async def _stream(
        self, service: str, endpoint: str, request: Any, reply_type: Any, options: Options
    ) -> AsyncIterator[ClientStream]:
        opened: list[Opened] = []
        try:
            if self._wrapped_stream is None:
                yield await self._open(service, endpoint, request, reply_type, options, opened)
            else:
                call = self._outgoing(Kind.STREAM, service, endpoint, request, reply_type, options)
                opened = call.opened
                yield await self._wrapped_stream(call)
        except Timeout:
            if opened:
                await opened[-1].due.wait_for_own()
            raise
        finally:
            for stream, target, _ in opened:
                target.load.abandoned()
                stream.close()

    async def _call(self, service: str, endpoint: str, request: Any, reply_type: Any, options: Options) -> Any:
        """A unary call, inside its wrappers."""
        way = way_of(self._options, options, self._callees.at) if options else self._way
        content_type = way.content_type or content_type_of(request)
        body = encode_message(encode(content_type, request))
        head = self._pack_head(service, endpoint, IDEMPOTENT if way.idempotent else 0, content_type, way)
        convert = self._converter(reply_type)
        wanted = way.filter_for(endpoint)
        callees = self._callees
        targets = callees.known(service, way, wanted) or await callees.find(service, way, wanted)
        due = deadline(self._config.request_timeout)
        if not due.ms:
            await trio.lowlevel.checkpoint()
        target = targets.choose(self._random, trio.current_time(), way.strategy, way.key)
        pool = callees.pool_for(way)
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
                known = callees.known(service, way, wanted) or targets
                others = known.without(tried) if refused or again else None
                if others is not None:
                    target = others.choose(self._random, trio.current_time(), way.strategy, way.key)
                elif not again:
                    raise _in_context(error, connection, service, endpoint) from None
                if not refused or others is None:
                    retries -= 1
                due = deadline(due.default - trio.current_time())

    async def _call_wrapped(self, call: OutgoingCall) -> Any:
        return await self._call(call.service, call.endpoint, call.request, call.reply_type, call.options)

    async def _open(
        self,
        service: str,
        endpoint: str,
        request: Any,
        reply_type: Any,
        options: Options,
        opened: list[Opened],
    ) -> ClientStream:
        """A stream with its first message on the way; whoever gave the list closes what is in it."""
        way = way_of(self._options, options, self._callees.at) if options else self._way
        content_type = way.content_type or (MSGPACK if request is None else content_type_of(request))
        body = b"" if request is None else encode_message(encode(content_type, request))
        head = self._pack_head(service, endpoint, STREAMING, content_type, way)
        convert = self._converter(reply_type)
        connection, target = await self._callees.connect(service, way, way.filter_for(endpoint))
        due = deadline(math.inf)
        stream = ClientStream(connection.mux.open(head, body, end=False, ms=due.ms), content_type, convert)
        target.load.started()
        opened.append(Opened(stream, target, due))
        await stream.send_rest()
        return stream

    async def _open_wrapped(self, call: OutgoingCall) -> ClientStream:
        return await self._open(call.service, call.endpoint, call.request, call.reply_type, call.options, call.opened)

    def _outgoing(
        self, kind: Kind, service: str, endpoint: str, request: Any, reply_type: Any, options: Options
    ) -> OutgoingCall:
        return OutgoingCall(
            service=service,
            endpoint=endpoint,
            kind=kind,
            request=request,
            reply_type=reply_type,
            options=options,
            idempotent=options.get("idempotent", self._way.idempotent),
        )

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

    def _pack_head(self, service: str, endpoint: str, flags: int, content_type: str, way: Way) -> bytes:
        if self._manager is None:
            raise RuntimeError("a client is used inside `async with Client() as client`")
        if self._thread != threading.get_ident():  # it would wake tasks of one event loop in another, and end both
            raise RuntimeError(
                "this client was opened in another thread: give each event loop a client of its own, or have the call "
                "made where it is, `trio.from_thread.run(client.call, ...)`"
            )
        metadata = way.metadata
        if (context := around.get()) is not None and context.sent:
            metadata = merged(merged(metadata, context.sent), way.own)
        key = (service, endpoint, flags, content_type, metadata)
        try:
            head = self._heads.get(key)
        except TypeError:  # a list or a dict is no key
            check_names(service, endpoint)
            raise
        if head is None:
            check_names(service, endpoint)
            if len(self._heads) >= MOST_HEADS:
                self._heads.clear()
            head = pack_call_head(CallHead(service, endpoint, "rpc", flags, content_type, metadata, bytes(16)))[:-16]
            self._heads[key] = head
        return head + next(self._call_ids)

    def _converter(self, reply_type: Any) -> Convert | None:
        # `A | B` equals `B | A`, and is tried in another order.
        key = reply_type if reply_type is None or isinstance(reply_type, type) else (reply_type, repr(reply_type))
        try:
            return self._converters[key]
        except KeyError:
            convert = self._converters[key] = converter(reply_type)
            return convert
        except TypeError:  # it is no key, as `Annotated[int, []]` is none
            return converter(reply_type)


_WANTED = {"wrappers": WRAPPERS}


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
