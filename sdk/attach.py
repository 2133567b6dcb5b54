"""Attaches a service to nodes: one connection to the proxy port of each, which the service opens and is called over.

It needs no port to listen on, so it works behind NAT and in any container; and the moment the connection is gone, the
node calls it no more. A connection that is lost is made again for as long as the service runs.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from random import Random

import trio

from .config import ServiceConfig
from .connection import run_connection
from .errors import MicroError, TooManyRequests, Unavailable, error_from_status
from .port.native import NativePort
from .rawsocket import open_tcp
from .server import Server
from .timers import Timers
from .types import Instance, Service
from .wire.frame import DEREGISTER, REGISTER, Hello
from .wire.mux import Mux
from .wire.registration import (
    Registered,
    pack_registered,
    pack_registration,
    parse_refused_untrusted,
    parse_registered_untrusted,
)

CONNECT_SECONDS = 5.0
"""Until a node that does not answer counts as gone, and until which it must have taken the service."""

FIRST_WAIT = 0.2
"""Seconds, half of them at random, until a node is tried again, doubled each time it fails …"""

LONGEST_WAIT = 10.0
"""… up to this."""

NODE_SECONDS = 2.0
"""Longest time to wait for nodes to know that the service stops, and then to read the last answers."""

FINISHED = b"finished"
"""What the PING behind the last answers says."""

_log = logging.getLogger(__name__)


async def serve_attached(
    server: Server,
    config: ServiceConfig,
    instance: str,
    *,
    offered: Callable[[], AbstractAsyncContextManager[None]],
    until_stop: trio.CancelScope,
    grace: Callable[[], float],
    task_status: trio.TaskStatus[str],
) -> None:
    """Answers calls over connections to the nodes in `config.attach` until `until_stop` is cancelled; then the nodes
    are told, and open calls have `grace()` seconds to end. Started, with the address of the node, when the first node
    has taken the service and the block `offered()` was entered, in which it stays until then. `instance` is its id.

    A node that is not there is tried for ever. Raises what a node says that refuses the service before any has taken
    it, what entering the block raises, and `BadRequest` for a record that no frame can hold.
    """
    # Two addresses may lead to one node, where each connection is an instance of its own.
    ids = [f"{instance}-{number}" if number else instance for number in range(len(config.nodes))]
    attachments = [_Attachment(server, config, *each) for each in zip(config.nodes, ids, strict=True)]
    failed: Exception | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, [])
        try:
            with until_stop:
                address = await _first(attachments, nursery)
                async with offered():
                    task_status.started(address)
                    await trio.sleep_forever()
        except Exception as error:  # of a node, or of a hook; calls that came in are still answered
            failed = error
        finally:
            await _with_all(attachments, _Attachment.withdraw)
        await server.drain(grace())
        await _with_all(attachments, _Attachment.finish)
        nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed


async def _first(attachments: Sequence["_Attachment"], nursery: trio.Nursery) -> str:
    """Starts them, and returns the address of the first node that takes the service; raises what one says that does
    not."""
    send, receive = trio.open_memory_channel[str | MicroError](len(attachments))
    for attachment in attachments:
        nursery.start_soon(attachment.run, send)
    settled = await receive.receive()
    if isinstance(settled, MicroError):
        raise settled
    return settled


async def _with_all(attachments: Sequence["_Attachment"], do: Callable[["_Attachment"], Awaitable[None]]) -> None:
    """Does something that waits for the nodes, which have so much time for it."""
    with trio.move_on_after(NODE_SECONDS, shield=True) as scope:
        async with trio.open_nursery() as nursery:
            for attachment in attachments:
                nursery.start_soon(do, attachment)
    if scope.cancelled_caught:
        _log.warning("not every node answered within %g s that this service stops", NODE_SECONDS)


class _Attachment:
    """The service at one node: at most one connection at a time, made again when it is lost."""

    def __init__(self, server: Server, config: ServiceConfig, address: str, id: str) -> None:
        self._server = server
        self._address = address
        self._token = config.proxy_token.encode()
        instance = Instance(id=id, address="", metadata={"protocol": "grpc", "native": "1"})
        record = Service(
            name=config.name,
            version=config.version,
            metadata=config.metadata,
            endpoints=server.endpoints,
            instances=(instance,),
        )
        self._name = f"{config.name} {config.version}"
        self._key = Registered(record.name, record.version)
        self._registration = pack_registration(record)
        self._leaving = trio.Event()
        self._port: _AttachedPort | None = None
        self._wait = FIRST_WAIT
        self._said = ""

    async def run(self, settled: trio.MemorySendChannel[str | MicroError]) -> None:
        """Connects for as long as the service is not withdrawn. `settled` gets the node's address when it first takes
        the service, or the error with which it refuses that."""
        random, timers = Random(), Timers()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timers.run)
            while not self._leaving.is_set():
                error = await self._once(timers, nursery, settled)
                if self._leaving.is_set():
                    break
                self._say(error)
                if not isinstance(error, (Unavailable, TooManyRequests)):
                    _put(settled, error)
                with trio.move_on_after(self._wait * random.uniform(0.5, 1.0)):
                    await self._leaving.wait()
                self._wait = min(2 * self._wait, LONGEST_WAIT)
            nursery.cancel_scope.cancel()

    async def withdraw(self) -> None:
        """Says that the service is gone, and waits until the node has taken that in: it opens no call after that."""
        self._leaving.set()
        port = self._port
        if port is not None:
            port.withdraw(pack_registered(self._key))
            await port.out.wait()

    async def finish(self) -> None:
        """Waits until the node has read all answers, and closes the connection."""
        port = self._port
        if port is not None:
            port.ping(FINISHED)
            await port.read.wait()
            port.close(f"{self._name} is stopping")

    async def _once(
        self, timers: Timers, nursery: trio.Nursery, settled: trio.MemorySendChannel[str | MicroError]
    ) -> MicroError:
        """One connection, from its beginning to its end, and why it ended."""
        try:
            with trio.fail_after(CONNECT_SECONDS):
                transport = await open_tcp(self._address)
        except (MicroError, trio.TooSlowError) as error:
            return Unavailable(str(error) or f"cannot connect to {self._address}: no answer in {CONNECT_SECONDS:g} s")
        transport.watch_closely()
        mux = Mux(on_open=lambda stream, opened: self._server.accept(stream, opened, nursery), clock=trio.current_time)

        def attached() -> None:
            self._wait, self._said = FIRST_WAIT, ""
            _log.info("%s is attached to %s", self._name, self._address)
            _put(settled, self._address)

        self._port = port = _AttachedPort(
            mux, self._address, self._token, self._registration, trio.current_time() + CONNECT_SECONDS, attached
        )
        mux.attach(port)
        try:
            if not self._leaving.is_set():
                await run_connection(port, transport, timers=timers)
        except Exception:  # a defect of ours must not end the service
            _log.exception("the connection of %s to %s ended with an error", self._name, self._address)
        finally:
            transport.close()
            self._port = None
        return port.error or Unavailable(f"{self._address}: {port.reason}")

    def _say(self, error: MicroError) -> None:
        """Once for each reason in a row."""
        if error.detail != self._said:
            self._said = error.detail
            _log.warning("%s is not attached to %s, trying again: %s", self._name, self._address, error.detail)


def _put(settled: trio.MemorySendChannel[str | MicroError], item: str | MicroError) -> None:
    """Only the first one counts."""
    try:
        settled.send_nowait(item)
    except (trio.WouldBlock, trio.BrokenResourceError):
        pass


class _AttachedPort(NativePort):
    """The service's end of the connection."""

    def __init__(
        self,
        sink: Mux,
        address: str,
        token: bytes,
        registration: bytes,
        due: float,
        on_attached: Callable[[], None],
    ) -> None:
        """Until `due` the node must have taken the service; `on_attached` hears that it has."""
        super().__init__(sink, role="instance", dialled=True, name=f"node {address}", token=token)
        self.out = trio.Event()
        """The node opens no call any more."""
        self.read = trio.Event()
        """It has read all that there was to send."""
        self.error: MicroError | None = None
        """Why it did not take the service, or takes it no more."""
        self.reason = ""
        """Why the connection is gone."""
        self._registration = registration
        self._due = due
        self._on_attached = on_attached
        self._leaving = False

    def on_hello(self, hello: Hello) -> None:
        """Somebody is there."""
        if not self._leaving:
            self.send(REGISTER, 0, 0, self._registration)

    def withdraw(self, key: bytes) -> None:
        """Takes the service back, or never offers it; `out` is set when the node knows."""
        self._leaving = True
        if self.hello is None:
            self.out.set()
        else:
            self.send(DEREGISTER, 0, 0, key)

    def on_registration(self, kind: int, payload: bytes) -> None:
        """What the node says to that."""
        if kind == REGISTER:
            parse_registered_untrusted(payload)
            self._due = math.inf
            self._on_attached()
            return
        refused = parse_refused_untrusted(payload)
        self.out.set()
        if refused.status:
            self.error = error_from_status(refused.status, refused.detail, may_have_run=False)
            self.close(refused.detail)

    def on_pong(self, payload: bytes, now: float) -> None:
        """It has read what was sent before the PING."""
        if payload == FINISHED:
            self.read.set()

    def next_timeout(self) -> float:
        """When the node must have taken the service."""
        return self._due

    def handle_timeout(self, now: float) -> None:
        """It has not. One of an older version says nothing at all."""
        self.close(f"it did not take the service in {CONNECT_SECONDS:g} s: it may be of a version without that")

    def connection_lost(self, reason: str) -> None:
        """Whoever waits for the node waits no more."""
        self.reason = self.reason or reason
        self.out.set()
        self.read.set()
        super().connection_lost(reason)
