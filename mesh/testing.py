"""Whole nodes in one process, for tests: real nodes, links, gossip and calls, without sockets and in virtual time.

Everything above the transport is what runs outside; links go over memory, as late, rough or cut as the test says, and
programs and instances are joined to their nodes directly. Under trio's autojump clock minutes pass in milliseconds:

    async def test_greeter_is_found_two_clouds_away(autojump_clock):
        async with Network() as net:
            await net.node("a")
            await net.node("b", nodes=["a"])
            await net.node("c", nodes=["b"])
            await net.offer("c", "greeter", {"Greeter.Hello": hello})
            await net.converged()
            assert await net.call("a", "greeter", "Greeter.Hello", {"name": "John"}) == {"msg": "Hello John"}

`autojump_clock` is a fixture of pytest-trio; elsewhere `trio.run(main, clock=MockClock(autojump_threshold=0))`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from random import Random
from types import TracebackType
from typing import Any, Final, Self

import trio

from sdk.codec import MSGPACK, encode
from sdk.errors import BadRequest, Unavailable
from sdk.handler import Function
from sdk.head import CallHead, pack_call_head
from sdk.port import Port, Sink
from sdk.port.inner import inner_pair
from sdk.registry.memory import MemoryRegistry
from sdk.reply import ClientStream
from sdk.server import Server
from sdk.types import Instance, Service
from sdk.wire.message import encode_message
from sdk.wire.mux import Mux
from tunnel.identity import network_key
from tunnel.transport.line import MemoryLine
from tunnel.transport.memory import MemoryNetwork
from tunnel.transport.rough import Quality

from .agreement import differences
from .config import NodeConfig
from .node import Node, Ready

TOKEN: Final = "the token of a test"  # noqa: S105 - it protects nothing
NETWORK: Final = "test"
CALL: Final = 5.0
"""Seconds a call may take, where the caller sets no deadline of its own."""
LOOK: Final = 0.05
"""Virtual seconds between looks whether the nodes agree."""
DIFFERENCES: Final = 5
"""How many things that differ are named when they do not."""

_worlds = count()


@dataclass(slots=True)
class _Place:
    """One environment, whether its node runs or not."""

    config: NodeConfig
    registry: MemoryRegistry
    random: Random
    node: Node | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    records: dict[str, Service] = field(default_factory=dict)


class Network:
    """Environments with a node each, by name. Use it in `async with`; everything ends with the block."""

    def __init__(
        self,
        *,
        seed: int = 0,
        delay: float = 0.005,
        jitter: float = 0.0,
        loss: float = 0.0,
        rate: float = math.inf,
    ) -> None:
        """`seed` decides jitter, loss and balancing. The others are what lines are like at first: seconds one way, and
        how many more or less, the share of segments that is lost and sent again, bytes per second each way."""
        self._seed = seed
        self._delay = delay
        self._quality = Quality(jitter=jitter, loss=loss, rate=rate)
        self._memory = MemoryNetwork(seed=seed)
        self._world = next(_worlds)
        self._places: dict[str, _Place] = {}
        self._servers: dict[str, Server] = {}
        self._stack = AsyncExitStack()
        self._calls = count(1)

    async def __aenter__(self) -> Self:
        network_key(TOKEN, NETWORK)  # slow, and kept: the clock must not jump while a thread works it out
        self._nursery = await self._stack.enter_async_context(trio.open_nursery())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._nursery.cancel_scope.cancel()
        await self._stack.__aexit__(kind, error, traceback)

    # Nodes.

    async def node(self, name: str, *, nodes: Sequence[str] = (), **config: Any) -> Node:
        """Starts the node of a new environment, which dials these others; `config` goes to `NodeConfig`."""
        if name in self._places:
            raise BadRequest(f"there is a node {name!r} already")
        for other in nodes:
            line = self.line(name, other)
            line.delay, line.quality = self._delay, self._quality
        values = {"address": f"mem://{name}", "proxy_address": "127.0.0.1:0", "resolver": "static", **config}
        others = tuple(f"mem://{other}" for other in nodes)
        place = self._places[name] = _Place(
            NodeConfig(name=name, token=TOKEN, network=NETWORK, nodes=others, **values),
            MemoryRegistry(f"{self._world} {name}"),
            Random(f"{self._seed} {name}"),
        )
        await self._stack.enter_async_context(place.registry)
        return await self._run(name)

    async def kill(self, name: str) -> None:
        """Ends a node at once: it says no word, and its links break. Its environment, with its services, stays."""
        place = self._places[name]
        place.node = None
        place.scope.cancel()
        await place.ended.wait()

    async def restart(self, name: str) -> Node:
        """Starts a node again that was killed, with the same configuration and a new key."""
        if self._places[name].node is not None:
            raise BadRequest(f"the node {name!r} runs")
        return await self._run(name)

    def running(self) -> dict[str, Node]:
        """The nodes that run, by name."""
        return {name: place.node for name, place in self._places.items() if place.node is not None}

    # Lines.

    def line(self, one: str, other: str) -> MemoryLine:
        """What lies between two nodes: `delay`, `jitter`, `loss` and `rate` may be set at any time."""
        return self._memory.line(one, other)

    def cut(self, one: str, other: str) -> None:
        """Nothing gets through between two nodes, and nobody is told, as when a cable breaks.

        A node whose lines are all cut before it is killed dies silently, as by a power cut.
        """
        self.line(one, other).sever()

    def heal(self, one: str, other: str) -> None:
        """Everything gets through again, also what was sent meanwhile over connections that still stand."""
        self.line(one, other).heal()

    def reset(self, one: str, other: str) -> None:
        """Breaks the connections between two nodes, and both know at once; they may connect again."""
        self.line(one, other).reset()

    # Services and calls.

    async def offer(self, name: str, service: str, handlers: Mapping[str, Function]) -> None:
        """A service in an environment: `{"Greeter.Hello": function}`, functions as for `Service.handle`."""
        place, address = self._places[name], _address(service, name)
        server = Server(service)
        for endpoint, function in handlers.items():
            server.add(endpoint, function)
        self._servers[address] = server
        instance = Instance(id=address, address=address, metadata={"protocol": "grpc", "native": "1"})
        record = Service(name=service, endpoints=server.endpoints, instances=(instance,))
        place.records[service] = record
        await place.registry.register(record)

    async def withdraw(self, name: str, service: str) -> None:
        """The service of an environment is gone from its registry, and answers no more."""
        place = self._places[name]
        await place.registry.deregister(place.records.pop(service))
        del self._servers[_address(service, name)]

    async def call(self, name: str, service: str, endpoint: str, request: Any = None) -> Any:
        """Calls a service through the node of an environment; raises what the call comes to. Without a deadline of the
        caller's own it has five seconds."""
        node = self._places[name].node
        if node is None:
            raise BadRequest(f"the node {name!r} does not run")
        program = Mux(clock=trio.current_time)
        node.attach(program, f"a program at {name}")
        head = CallHead(service, endpoint, "rpc", 0, MSGPACK, (), next(self._calls).to_bytes(16, "big"))
        seconds = min(trio.current_effective_deadline() - trio.current_time(), CALL)
        body = encode_message(encode(MSGPACK, request))
        opened = program.open(pack_call_head(head), body, end=True, ms=max(1, round(seconds * 1000)))
        stream = ClientStream(opened, MSGPACK, None)
        try:
            if opened.unsent:
                await stream.send_rest()
                await stream.send_eof()
            return await stream.only_message()
        finally:
            stream.close()

    # Agreement.

    async def converged(self, *, within: float = 60.0) -> float:
        """Waits until all nodes that can reach one another agree, and answers with the seconds that took.

        That is: who was told of whom is linked, unless the line is cut; link states are the same everywhere; services
        are known as far as their nodes tell them; paths are chosen. Raises `AssertionError` after `within` seconds,
        with who differs in what.
        """
        began = trio.current_time()
        while next(self._differences(), None) is not None:
            if trio.current_time() - began > within:
                some = "; ".join(islice(self._differences(), DIFFERENCES))
                raise AssertionError(f"the nodes do not agree after {within:g} s: {some}")
            await trio.sleep(LOOK)
        return trio.current_time() - began

    def _differences(self) -> Iterator[str]:
        nodes = self.running()
        places = {name: self._places[name] for name in nodes}
        return differences(
            nodes,
            lines={
                (name, other): not self.line(name, other).cut
                for name, place in places.items()
                for address in place.config.nodes
                if (other := address.removeprefix("mem://")) in nodes
            },
            offered={
                name: [service for service in place.records if place.config.policy.exported(service)]
                for name, place in places.items()
            },
        )

    # Inside.

    async def _run(self, name: str) -> Node:
        place = self._places[name]
        place.scope, place.ended = trio.CancelScope(), trio.Event()
        node = Node(
            place.config,
            registry=MemoryRegistry(f"{self._world} {name}"),
            memory=self._memory.seen_from(name),
            random=place.random,
            instances=lambda switch, nursery: _Instances(switch, nursery, self._servers),
        )

        async def run(*, task_status: trio.TaskStatus[Ready]) -> None:
            try:
                with place.scope:
                    await node.run(task_status=task_status)
            finally:
                place.ended.set()

        await self._nursery.start(run)
        place.node = node
        return node


def _address(service: str, name: str) -> str:
    """Where an instance is, in a form that registries take; nobody connects to it."""
    return f"{service}.{name}:1"


class _Instances:
    """Joins a node to the servers of its environment without sockets."""

    def __init__(self, switch: Sink, nursery: trio.Nursery, servers: Mapping[str, Server]) -> None:
        self._switch = switch
        self._nursery = nursery
        self._servers = servers
        self._ports: dict[tuple[str, Server | None], Port] = {}

    def port_to(self, address: str) -> Port:
        """The way to an instance; one that is gone refuses."""
        server = self._servers.get(address)
        port = self._ports.get((address, server))
        if port is None:
            port = self._ports[address, server] = self._join(address, server)
        return port

    def raw_to(self, address: str) -> Port:
        """There is no TCP in memory: raises `Unavailable`."""
        raise Unavailable(f"instance {address} is in memory, where there are no raw connections")

    grpc_to = http_to = raw_to

    def keep_only(self, addresses: set[str]) -> None:
        """They cost nothing."""

    def _join(self, address: str, server: Server | None) -> Port:
        on_open = None if server is None else partial(server.accept, nursery=self._nursery)
        mux = Mux(on_open=on_open, clock=trio.current_time)
        near, far = inner_pair(self._switch, mux, name=f"instance {address}", clock=trio.current_time)
        mux.attach(far)
        return near
