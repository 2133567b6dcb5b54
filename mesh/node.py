"""The node: what its registry holds becomes routes, routes are told over links, and calls go through the switch.

    registry → LocalServices → RoutingTable → Gossip ⇄ links (Tunnel)
    programs → ProxyListener → Switch → links, or instances (TcpDialer), or the node's own services (Admin)

Everything runs in one nursery. A node ends by being cancelled; `drain` before that lets calls end.

The file is longer than others: it is the one place where all parts meet, and wiring has no second idea to part with.
"""

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Protocol

import trio

from proxy.attached import Attached
from proxy.balance import Balancer
from proxy.dialer import TcpDialer
from proxy.egress import Dialer, Egress
from proxy.ingress import Ingress
from proxy.jsonbridge import JsonBridge
from proxy.listener import BackEnd, ProxyListener
from proxy.mapped import MappedPort
from proxy.switch import Switch
from proxy.termination import read_termination
from router.gossip import Gossip
from router.table import NODE_SERVICES, RoutingTable
from sdk.errors import BadRequest
from sdk.port import Port, Sink
from sdk.port.inner import inner_pair
from sdk.rawsocket import bound_address
from sdk.registry import Registry, open_registry
from sdk.registry.remote import REGISTRY_SERVICE
from sdk.server import Server
from sdk.timers import Timers
from sdk.types import Instance, Service
from sdk.wire.mux import Mux
from tunnel.identity import format_id, node_id, verify
from tunnel.link import Link
from tunnel.transport.memory import PROCESS, MemoryNetwork
from tunnel.tunnel import Tunnel, TunnelConfig

from .addresses import local_address, told_addresses
from .admin import CHANGES, Admin
from .alone import refuse_itself, with_back_end
from .calls import Calls
from .config import NODE_SERVICE, NodeConfig
from .datadir import Identity, new_identity
from .joining import joined
from .local import LocalServices, RegistryState
from .local_ports import LISTEN
from .neighbours import Neighbours
from .observe import LoopLag
from .point_to_point import FORWARD, PointToPoint, with_exposed
from .presence import Presence
from .registry_service import WRITES, RegistryService
from .reload import Reload, Reloaded, refuse_public, warn_of_default
from .resolver import divide, sources
from .resolver.choice import Kind
from .resolver.lookup import Lookup, LookupState
from .router_service import ROUTER_SERVICE, RouterService
from .seeds import Seeds
from .serving import LOOK, answer_inside, bind, idle
from .steps import Steps
from .tokens import to_bytes
from .watching import Watching

GOODBYE = 0.4
"""Seconds for taking the node's record out of the registry when it is cancelled: after Ctrl-C a person is waiting."""

KNOWN = 1.0
"""Seconds for neighbours and programs to know that this node is going."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What a node says when it has started."""

    id: str
    """Its id as text."""
    link: tuple[str, ...]
    """Addresses its link port is bound to."""
    proxy: tuple[str, ...]
    """Addresses its proxy port is bound to."""
    forwards: tuple[str, ...] = ()
    """Local ports and the services they lead to, as `address=service`."""


class Instances(Dialer, Protocol):
    """Connections to the instances of this environment."""

    def keep_only(self, addresses: set[str]) -> None:
        """These are all instances there are: connections to others may be closed."""


class Node:
    """One node of a network. `run` it once."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        identity: Identity | None = None,
        registry: Registry | None = None,
        memory: MemoryNetwork = PROCESS,
        random: Random | None = None,
        instances: Callable[[Sink, trio.Nursery], Instances] | None = None,
    ) -> None:
        """`identity` is who the node is, a new one by default; `registry` takes the place of the one in the
        configuration, `memory` is where `mem://` addresses are, `random` decides jitter and balancing, and `instances`
        makes what connects to instances. Raises `BadRequest` naming the flag of a certificate or key for programs that
        cannot be used."""
        self._config = config
        self._registry = registry or open_registry(config.registry, config.registry_address)
        self._memory = memory
        self._random = random or Random()
        identity = identity or new_identity()
        self._key = identity.key
        self._epoch = identity.epoch
        self._name = config.name or format_id(self._key.id)
        self._timers = Timers()
        self._policy = config.policy
        self._point_to_point = config.point_to_point or PointToPoint()
        self._back_end = config.alone.back_end if config.alone else None
        self._switch = Switch(
            me=self._key.id, name=self._name, transit=self._policy.transit, call_time=config.limits.call
        )
        self._neighbours = Neighbours(self._switch, self._timers, config.link_prices)
        names = {self._back_end.service} if self._back_end else set[str]()
        self._attached = Attached(reserved=NODE_SERVICES | names)
        self._listener = ProxyListener(
            self._switch,
            self._timers,
            to_bytes(config.proxy_tokens),
            termination=read_termination(config.proxy_tls),
            back_end=BackEnd(self._back_end.service, self._back_end.protocol) if self._back_end else None,
            limits=config.limits,
            attached=self._attached,
        )
        self._mapped: list[MappedPort] = []
        self._balancer = Balancer(self._random)
        self._lag = LoopLag()
        self._instances = instances or partial(TcpDialer, timers=self._timers, limits=config.limits)
        self._calls = Calls(log_all=config.access_log, name_of=self._name_of, clock=trio.current_time)
        self._switch.on_call = self._calls.take
        self._presence: Presence | None = None
        self._watching: tuple[Watching | RegistryService, ...] = ()
        self._links: Callable[[], tuple[Link, ...]] = tuple
        self._draining = False

    @property
    def table(self) -> RoutingTable:
        """What can be called from here, once the node has started."""
        return self._table

    @property
    def gossip(self) -> Gossip:
        """What is known of the network, once the node has started."""
        return self._neighbours.gossip

    def attach(self, program: Mux, name: str) -> None:
        """Lets a program of this process call through the node as if it had connected to the proxy port."""
        _, far = inner_pair(self._switch, program, name=name, clock=trio.current_time)
        program.attach(far)

    @property
    def id(self) -> str:
        """The node's id as text; without an identity that was kept, new with each `Node`."""
        return format_id(self._key.id)

    async def run(self, *, task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; started when the ports are bound, the node knows its network (see `joined`) and is
        registered.

        Raises `Conflict` naming the flag when a port is taken, `BadRequest` for an address that cannot be bound and
        `PublicAddress` for one that must not be, `Unavailable` when the registry cannot be opened.
        """
        config = self._config
        if config.alone is None:
            warn_of_default(config.tokens, config.command)
        async with AsyncExitStack() as stack:
            registry = await stack.enter_async_context(self._registry)
            listeners = await bind(stack, config.proxy_address, config.flag_of_proxy)
            mapped = [
                (forward, await bind(stack, forward.address, flag))
                for flag, forwards in ((LISTEN, config.listens), (FORWARD, self._point_to_point.forwards))
                for forward in forwards
            ]
            if self._back_end is not None:
                refuse_itself(self._back_end, map(bound_address, listeners))
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(self._timers.run)
            nursery.start_soon(self._lag.run)
            ready = await self._start(registry, nursery, listeners)
            for forward, ports in mapped:
                port = MappedPort(self._switch, forward.service)
                self._mapped.append(port)
                nursery.start_soon(port.serve, ports)
                ready = replace(ready, forwards=(*ready.forwards, f"{bound_address(ports[0])}={forward.service}"))
            try:
                task_status.started(ready)
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(GOODBYE, shield=True):
                    await self._withdraw()

    async def reload(self) -> Reloaded:
        """Reads its files again, once the node has started; see `Reload`."""
        return await self._reload()

    async def drain(self) -> None:
        """Takes no new calls of programs, offers nothing any more, sees to it that calls of others go by other nodes,
        and returns when the open calls are done.

        The node runs on until it is cancelled, so calls that others had on their way here are still answered.
        """
        self._draining = True
        if self._presence is None:
            return
        self._neighbours.set_services(())
        self._neighbours.end_transit()
        await self._withdraw()  # first: programs that are told to go look there for another node
        self._listener.go_away()
        for port in self._mapped:
            port.go_away()
        for watching in self._watching:
            watching.end()
        await self._heard()
        self._listener.refuse()
        await idle(self._switch)
        # Now hardly anybody sends anything more; what crosses this word is still taken.
        for link in self._links():
            link.port.go_away()
        await self._heard()
        await idle(self._switch)
        await self._listener.leave()

    async def _heard(self) -> None:
        """Waits until neighbours and programs have taken in what was said to them so far, a second at most."""
        with trio.move_on_after(KNOWN):
            async with trio.open_nursery() as nursery:
                for link in self._links():
                    nursery.start_soon(_answered, link)
            while not self._listener.heard:  # noqa: ASYNC110 - as in `idle`
                await trio.sleep(LOOK)

    async def _start(self, registry: Registry, nursery: trio.Nursery, listeners: list[trio.SocketListener]) -> Ready:
        """Starts every part, from the links to the record by which others find them."""
        config = self._config
        tunnel = self._tunnel()
        bound: tuple[str, ...] = await nursery.start(tunnel.run)
        # From here to the next checkpoint nobody can have finished a handshake, so nobody misses what is made now.
        refuse_public(config.tokens, bound, config.command)
        self._reload = Reload(config, tunnel, self._listener)
        self._links = lambda: tuple(tunnel.links.values())
        gossip = self._gossip(bound)
        table = RoutingTable(gossip=gossip, format_id=format_id, policy=self._policy)
        steps = Steps(table)
        self._neighbours.attach(gossip, steps)
        nursery.start_soon(steps.run)
        self._table = table
        dialer = self._instances(self._switch, nursery)
        own = self._choose_by(table, dialer)

        link = config.advertise or (local_address(bound) if bound else "")
        seeds, lookups = self._look_for_others(tunnel, link, nursery)

        def changed(registered: tuple[Service, ...]) -> None:
            services = with_exposed(registered, self._point_to_point.exposes)
            services = with_back_end(services, self._back_end)
            table.set_local(services, trio.current_time())
            dialer.keep_only({instance.address for service in services for instance in service.instances})
            if config.choice.kind is Kind.REGISTRY:
                seeds.update(services)
            if not self._draining:
                self._neighbours.set_services(table.local_entries)

        local = LocalServices(registry, random=self._random, changed=changed, tls=lambda: tunnel.tls)
        self._attached.changed = local.set_attached
        nursery.start_soon(local.run)
        proxy = tuple(map(bound_address, listeners))
        admin = Admin(
            me=self._key.id,
            config=config,
            gossip=gossip,
            table=table,
            tunnel=tunnel,
            local=local,
            lag=self._lag,
            seeds=seeds,
            lookups=lookups,
            proxy=proxy,
            reload=self._reload,
            own=own,
            load=self._balancer.load,
            traffic=self._traffic,
            calls=self._calls,
        )
        self._answer_for(own, admin, table, registry, nursery)
        await joined(
            tunnel, gossip, table,
            asked=lambda: local.status.state is not RegistryState.STARTING
            and not any(lookup.status.state is LookupState.LOOKING for lookup in lookups),
        )  # fmt: skip
        # Until then programs that know the address wait to be accepted: they may have another node, where they do not
        # hear that nobody offers what this one has not heard of yet.
        nursery.start_soon(self._listener.serve, listeners)
        self._presence = Presence(registry, self._record(admin.server, link, proxy), failed=local.doubt)
        await nursery.start(self._presence.run)
        return Ready(id=self.id, link=bound, proxy=proxy)

    def _look_for_others(self, tunnel: Tunnel, link: str, nursery: trio.Nursery) -> tuple[Seeds, list[Lookup]]:
        """Begins to dial the nodes that are named, and to look up the others; `link` is this node's own address."""
        config = self._config
        named, looked_up = divide(config.choice, config.nodes)
        seeds = Seeds(
            named=named,
            network=config.network,
            me=self.id,
            link=link,
            dial=partial(_dial, tunnel),
            leave=tunnel.forget,
        )
        seeds.start()
        lookups = [
            Lookup(source, found=seeds.found, random=self._random)
            for source in sources(config.choice, looked_up, self._random)
        ]
        for lookup in lookups:
            nursery.start_soon(lookup.run)
        return seeds, lookups

    def _answer_for(
        self,
        own: dict[str, Port],
        admin: Admin,
        table: RoutingTable,
        registry: Registry,
        nursery: trio.Nursery,
    ) -> None:
        """Puts the services that the node itself answers where calls find them."""
        own[NODE_SERVICE] = own[self._config.service] = answer_inside(admin.server, self._switch, nursery)
        routes = RouterService(table, network=self._config.network, router=self.id, writable=False)
        own[ROUTER_SERVICE] = answer_inside(routes.server, self._switch, nursery)
        records = RegistryService(registry)
        own[REGISTRY_SERVICE] = answer_inside(records.server, self._switch, nursery)
        self._watching = (admin.watching, routes.watching, records)

    def _traffic(self) -> dict[str, object]:
        """What went through the node, for people."""
        return {
            "calls": self._switch.statistics(),
            "programs": self._listener.statistics(),
            "forwards": {"refused": sum(port.refused for port in self._mapped)},
        }

    def _tunnel(self) -> Tunnel:
        config = self._config
        return Tunnel(
            TunnelConfig(
                listen=(config.address,) if config.address else (),
                flag=config.flag_of_address,
                tokens=config.tokens,
                network=config.network,
                name=config.name,
                advertise=(config.advertise,) if config.advertise else (),
                admitted=config.admitted,
                private_only=config.default_token,
                tls=config.tls,
                proxies=config.proxies,
            ),
            self._key,
            self._epoch,
            self._switch,
            self._neighbours,
            self._timers,
            self._random,
            network=self._memory,
        )

    def _gossip(self, bound: tuple[str, ...]) -> Gossip:
        config = self._config
        return Gossip(
            me=self._key.id,
            public=self._key.public,
            name=config.name,
            network=config.network,
            addresses=(config.advertise,) if config.advertise else told_addresses(bound),
            epoch=self._epoch,
            sign=self._key.sign,
            verify=verify,
            node_id=node_id,
            random=self._random,
            wake=_nobody_sleeps,
            transit=self._policy.transit,
            radius=self._policy.radius,
        )

    def _choose_by(self, table: RoutingTable, dialer: Instances) -> dict[str, Port]:
        """Gives the switch its choices; returns the place for services that the node itself answers."""
        switch, balancer = self._switch, self._balancer
        own: dict[str, Port] = {}
        elsewhere = self._config.point_to_point is not None  # whoever is at the other end is nobody's colleague
        bridge = JsonBridge(switch, me=self._key.id, name=self._name, clock=trio.current_time)
        egress = Egress(
            name=self._name,
            instances=table,
            dialer=dialer,
            balancer=balancer,
            json=bridge.port,
            max_calls=self._config.max_calls,
            flag_of_max_calls=self._config.flag_of_max_calls,
            own=None if elsewhere else own,
            attached=self._attached.port_to,
        )
        ingress = Ingress(
            name=self._name,
            routes=table,
            links=switch.links,
            egress=egress,
            balancer=balancer,
            gateway=self._config.gateway,
            id=self.id,
            network=self._config.network,
            elsewhere=elsewhere,
            own=own,
            pin=self._point_to_point.pin,
        )
        switch.egress, switch.ingress = egress, ingress
        self._timers.watch(switch)
        egress.guarded.update(
            (service, endpoint) for service in (NODE_SERVICE, self._config.service) for endpoint in CHANGES
        )
        egress.guarded.update((REGISTRY_SERVICE, endpoint) for endpoint in WRITES)
        return own

    def _record(self, server: Server, link: str, proxy: tuple[str, ...]) -> Service:
        """What the node registers: where programs of this environment reach it, and where other nodes do."""
        service, back_end = self._config.service, self._back_end
        metadata = {
            "protocol": back_end.protocol if back_end else "grpc",
            "native": "1",
            "network": self._config.network,
            "id": self.id,
            **({"link": link} if link else {}),
        }
        instance = Instance(id=f"{service}-{self.id}", address=local_address(proxy), metadata=metadata)
        if back_end:
            return Service(name=back_end.service, instances=(replace(instance, id=f"{back_end.service}-{self.id}"),))
        return Service(name=service, endpoints=server.endpoints, instances=(instance,))

    def _name_of(self, id: bytes) -> str:
        """What people call a node: its name where it has one."""
        origin = self.gossip.origins.get(id)
        return (origin.name if origin is not None else "") or format_id(id)

    async def _withdraw(self) -> None:
        """Takes the node's record out of the registry, once."""
        if self._presence is not None:
            presence, self._presence = self._presence, None
            await presence.withdraw()


async def _answered(link: Link) -> None:
    """Waits for an answer to a PING behind everything that was sent on a link."""
    answered = trio.Event()
    link.port.probe(trio.current_time(), answered.set)
    await answered.wait()


def _dial(tunnel: Tunnel, address: str) -> None:
    try:
        tunnel.connect(address)
    except BadRequest as error:  # the configuration and lists are checked, so somebody registered this
        _log.warning("a node in the registry cannot be dialled: %s", error)


def _nobody_sleeps() -> None:
    """Gossip is asked for its messages after every call, so it need not wake anybody."""
