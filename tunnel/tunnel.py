"""All links of a node: who may open one, who is dialled, and which stays when there are two.

Each connection has one task, from the first byte to the last. What goes wrong with a peer ends that peer's connection,
with one line in the log that names its address; secrets are in no line.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Final, Never

import trio

from sdk.connection import run_connection
from sdk.errors import BadRequest
from sdk.netaddress import is_private, split_address
from sdk.port import Sink
from sdk.rawsocket import bound_address, listen_tcp, take_over
from sdk.timers import Timers

from . import transport
from .admission import Admission, Refusal, refusal_of
from .callback import called_back_at
from .dialling import Dialler, Outcome, Seed, SeedState, SeedStatus
from .guesses import Guesses
from .handshake import LinkHandshake, OwnId, TokenDiffers
from .identity import MAX_TOKENS, Certificate, NodeId, NodeKey, known_network_keys, network_keys, pack_certificate
from .keyring import Keyring
from .link import Link
from .linkport import LinkPort
from .links import LinkEvents, Links
from .reach import FAILURES, HANDSHAKE, close, reach, shake_hands
from .rtt import RoundTrip
from .transport import Connected, Ways
from .transport.memory import PROCESS, MemoryListener, MemoryNetwork, MemoryStream
from .transport.proxies import Proxies
from .transport.tls import Tls, TlsConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelConfig:
    """How a node is linked to others."""

    listen: tuple[str, ...]
    """Addresses to accept links at: `host:port` (TCP, WebSocket and TLS on one port) or `mem://name`; none for a node
    that only dials."""
    flag: str = ""
    """What sets these, for people who named one that cannot be listened on."""
    tokens: tuple[str, ...]
    """What nodes of one network share: each of them lets a peer in, up to four; the first is the one to dial with."""
    network: str
    """The name of that network."""
    name: str = ""
    """What people call this node; empty for its id."""
    advertise: tuple[str, ...] = ()
    """Addresses that others are told to dial; empty for those it is bound to."""
    admitted: frozenset[NodeId] | None = None
    """The nodes that may link with this one, whoever dials; None for all that have a token."""
    private_only: bool = False
    """Whether links are accepted from loopback and private addresses only: so with a token that everybody knows."""
    tls: TlsConfig = field(default_factory=TlsConfig)
    """Certificates, for links inside TLS."""
    proxies: Proxies = field(default_factory=Proxies)
    """Through which HTTP proxy links are dialled."""

    def __repr__(self) -> str:
        return f"<TunnelConfig of network {self.network!r}, listening on {', '.join(self.listen) or 'nothing'}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelStatistics:
    """How the link port fares."""

    links: int
    """Links that are up."""
    in_progress: int
    """Handshakes of peers that connected."""
    refused: Mapping[Refusal, int]
    """Connections of others that came to no link, by the reason; those that never happened are 0, or not there."""
    cut_off: Mapping[Refusal, int]
    """Links that ended because the peer broke a rule, likewise."""


class Tunnel:
    """The links of one node. It is idle until `run` runs."""

    def __init__(
        self,
        config: TunnelConfig,
        key: NodeKey,
        epoch: int,
        sink: Sink,
        events: LinkEvents,
        timers: Timers,
        random: Random,
        *,
        network: MemoryNetwork = PROCESS,
    ) -> None:
        """`sink` takes the frames of all links; `epoch` must be higher than at the last start under the same key;
        `network` is where `mem://` addresses are. Raises `BadRequest` for files of the configuration that cannot be
        used."""
        self._links = Links(key.id, events)
        self.links: Mapping[NodeId, Link] = self._links.up
        """The links that are up, by peer."""
        self.bound: tuple[str, ...] = ()
        """Where it listens."""
        self._config = config
        self._key = key
        self._sink = sink
        self._events = events
        self._timers = timers
        self._ways = Ways(network=network, tls=Tls(config.tls), proxies=config.proxies)
        self._guesses = Guesses()
        self._static = secrets.token_bytes(32)
        self._keyring = Keyring()
        self._private_only = config.private_only
        self._certificate = Certificate(
            public=key.public, epoch=epoch, name=config.name, addresses=config.advertise, network=config.network
        )
        self._admission = Admission()
        self._cut_off: Counter[Refusal] = Counter()
        self._dialler = Dialler(self._attempt, self._links.gone, random)

    def connect(self, address: str) -> None:
        """Keeps a link with the node at this address from now on; raises `BadRequest` for an address that is none."""
        scheme, rest = transport.split_scheme(address)
        if scheme != "mem":
            split_address(rest.partition("/")[0])
        self._dialler.add(address)

    def disconnect(self, address: str) -> None:
        """Stops dialling an address, and ends the link that came of it."""
        self._dialler.remove(address)

    def forget(self, address: str) -> None:
        """Stops dialling an address; a link that came of it lasts as long as it lasts."""
        self._dialler.forget(address)

    def seeds(self) -> list[SeedStatus]:
        """The addresses that are dialled, and how each fares."""
        return self._dialler.seeds()

    async def set_tokens(self, tokens: Sequence[str], *, private_only: bool) -> None:
        """Takes these tokens from now on, and those only. Links that are up stay up, whatever let them in.

        `private_only` as in `TunnelConfig`. It takes up to a quarter of a second, in a thread, before anything changes.
        Raises `BadRequest` for none or too many.
        """
        if not 0 < len(tokens) <= MAX_TOKENS:
            raise BadRequest(f"{len(tokens)} tokens were given; a node takes 1 to {MAX_TOKENS} at a time")
        keys = known_network_keys(tokens, self._config.network)
        if keys is None:
            keys = await trio.to_thread.run_sync(network_keys, tokens, self._config.network)
        self._keyring.replace(keys)
        self._private_only = private_only

    @property
    def tls(self) -> Tls:
        """The certificates that are shown and believed now."""
        return self._ways.tls

    def set_tls(self, tls: Tls) -> None:
        """Shows and believes these certificates from now on. Links that are up, and handshakes under way, go on with
        what they began with."""
        self._ways = replace(self._ways, tls=tls)

    def statistics(self) -> TunnelStatistics:
        """Counts of this moment, and since the start."""
        return TunnelStatistics(
            links=len(self.links),
            in_progress=self._admission.in_progress,
            refused=self._admission.refused.copy(),
            cut_off=self._cut_off.copy(),
        )

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED) -> Never:
        """Listens, accepts and dials until cancelled; started with the addresses it is bound to.

        Raises `Conflict` when a port is taken and `BadRequest` for what cannot be listened on or told to others.
        """
        async with AsyncExitStack() as stack:
            listeners: list[MemoryListener | trio.SocketListener] = []
            for address in self._config.listen:
                for listener in await self._listen(address):
                    await stack.enter_async_context(listener)
                    listeners.append(listener)
            self.bound = tuple(map(_address, listeners))
            await self._introduce()
            async with trio.open_nursery() as nursery:
                for listener in listeners:
                    serve = partial(trio.serve_listeners, self._accept, [listener], handler_nursery=nursery)
                    nursery.start_soon(serve)
                nursery.start_soon(self._dialler.run)
                task_status.started(self.bound)
        raise AssertionError("the listeners ended")

    async def _listen(self, address: str) -> list[MemoryListener] | list[trio.SocketListener]:
        scheme, rest = transport.split_scheme(address)
        return [self._ways.network.listen(rest)] if scheme == "mem" else await listen_tcp(rest, flag=self._config.flag)

    async def _introduce(self) -> None:
        """Makes what every handshake needs."""
        config = self._config
        if not config.advertise:
            self._certificate = replace(self._certificate, addresses=self.bound)
        pack_certificate(self._key, self._certificate, bytes(32))  # to say now that it is too long
        await self.set_tokens(config.tokens, private_only=config.private_only)

    # Accepting.

    async def _accept(self, stream: MemoryStream | trio.SocketStream) -> None:
        """One connection that somebody opened, from beginning to end."""
        try:
            there = stream if isinstance(stream, MemoryStream) else take_over(stream)
            try:
                await self._welcome(there)
            finally:
                with trio.CancelScope(shield=True):
                    await there.aclose()  # at once, for sockets and memory both
        except Exception:
            logger.exception("a connection to the link port ended by an error of this node")

    async def _welcome(self, there: transport.Acceptable) -> None:
        now = trio.current_time()
        if self._private_only and there.peer_host and not is_private(there.peer_host):
            self._refuse(
                there, Refusal.FROM_OUTSIDE, "with the default token only loopback and private addresses may link"
            )
            return
        if (refusal := self._admission.begin(there.peer_host, now)) is not None:
            self._refuse(there, refusal, _TOO_MANY[refusal])
            return
        done = None
        try:
            with trio.move_on_after(HANDSHAKE):
                connected = await transport.accept(there, self._ways, direct_only=self._private_only)
                handshake = self._handshake(self._keyring.keys, dialled=False)
                round_trip = await shake_hands(handshake, connected)
                done = connected, handshake, round_trip
            if done is None:
                self._refuse(there, Refusal.TIMED_OUT, f"it did not finish its handshake within {HANDSHAKE:.0f} s")
            else:
                self._admission.succeeded(there.peer_host)
        except OwnId:
            pass  # the dialling end of this node knows what to make of it
        except FAILURES as error:
            self._refuse(there, refusal_of(error), str(error) or "the connection broke during the handshake")
        finally:
            self._admission.end(there.peer_host)
        if done is not None:
            await self._keep(*done, dialled=False)

    def _refuse(self, there: transport.Acceptable, refusal: Refusal, reason: str) -> None:
        """Counts it, and has one line for a person, unless the same was said of this host a moment ago."""
        self._admission.refused[refusal] += 1
        if self._admission.may_complain(there.peer_host or there.peer, reason, trio.current_time()):
            logger.warning("refused a link from %s: %s", there.peer, reason)

    # Dialling.

    async def _attempt(self, seed: Seed) -> Outcome:
        """Dials once, with each token that the other end refuses once more; returns when that has failed, or when the
        link it brought is over."""
        try:
            for psk in self._keyring.to_dial(seed.address):
                try:
                    return await self._dial(psk, seed)
                except TokenDiffers as error:
                    refused = str(error)
            return Outcome(refused)
        except Exception as error:
            logger.exception("the connection to %s ended by an error of this node", seed.address)
            return Outcome(f"an error of this node: {type(error).__name__}")

    async def _dial(self, psk: bytes, seed: Seed) -> Outcome:
        """Raises `TokenDiffers` where the peer does not take this one."""
        connected: Connected | None = None
        try:
            new_handshake = partial(self._handshake, (psk,), dialled=True)
            reached = await reach(seed.address, new_handshake, self._ways, self._guesses)
            connected = reached.connected
            self._keyring.worked(seed.address, psk)
            return await self._keep(*reached, dialled=True, seed=seed)
        except OwnId as error:
            return Outcome(str(error), itself=True)
        except TokenDiffers:
            raise
        except FAILURES as error:
            return Outcome(str(error) or "the connection broke during the handshake")
        finally:
            if connected is not None:
                await close(connected)

    def _handshake(self, psks: Sequence[bytes], *, dialled: bool) -> LinkHandshake:
        return LinkHandshake(
            dialled=dialled,
            key=self._key,
            static=self._static,
            ephemeral=secrets.token_bytes(32),
            psks=psks,
            certificate=self._certificate,
            admitted=self._config.admitted,
        )

    async def _keep(
        self,
        connected: Connected,
        handshake: LinkHandshake,
        round_trip: RoundTrip,
        *,
        dialled: bool,
        seed: Seed | None = None,
    ) -> Outcome:
        """Runs the link with a proven peer until it is over, unless another link to that peer is the one to keep."""
        peer = handshake.peer
        assert peer is not None
        if not await self._links.prevails(peer, dialled=dialled):
            return Outcome("", peer=peer.id)
        if dialled:
            handshake.accept()
        since = trio.current_time()
        ended = "the connection was closed by this side"

        def on_lost(reason: str) -> None:
            nonlocal ended
            ended = reason
            self._links.remove(link, reason)

        port = LinkPort(
            self._sink,
            dialled=dialled,
            peer=peer,
            ciphers=handshake.ciphers,
            now=since,
            round_trip=round_trip,
            on_control=lambda message: self._events.control(link, message),
            on_lost=on_lost,
            segments=connected.segments,
            set_depth=connected.set_depth,
            first=handshake.data_to_send(),
        )
        link = Link(
            certificate=peer,
            dialled=dialled,
            address=seed.address if seed is not None else connected.address,
            transport=connected.kind,
            port=port,
            up_since=since,
        )
        if seed is not None:
            seed.state = SeedState.LINKED
        with trio.CancelScope() as scope:
            try:
                self._links.add(link, scope)
                fault = await run_connection(port, connected.transport, timers=self._timers, first=handshake.rest)
                if fault is not None:
                    self._cut_off[refusal_of(fault)] += 1
            finally:
                port.connection_lost("an error of this node")  # where none came so far, something was raised
                self._links.over(link)
        if not dialled and not port.draining:
            host = connected.socket.peer_host if connected.socket is not None else ""
            self._dialler.call_back(peer.id, called_back_at(peer.addresses, host), lambda: peer.id in self.links)
        return Outcome("" if peer.id in self.links else ended, peer=peer.id, lasted=trio.current_time() - since)


_TOO_MANY: Final = {
    Refusal.TOO_MANY: "too many handshakes at once",
    Refusal.TOO_MANY_OF_ONE: "too many handshakes at once from its address",
}


def _address(listener: MemoryListener | trio.SocketListener) -> str:
    return f"mem://{listener.name}" if isinstance(listener, MemoryListener) else bound_address(listener)
