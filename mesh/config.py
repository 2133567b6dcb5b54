"""What a node is told before it starts.

One frozen value, checked when it is made: a node that starts has a configuration it can run with. Where the values
come from (flags, environment) is the business of the command line; the messages here name both spellings, because that
is where people look.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from proxy.termination import ProxyTlsConfig
from router.policy import Policy, Strategy
from sdk.errors import BadRequest, RemoteProtocolError
from sdk.port.limits import Limits
from tunnel.identity import DEFAULT_TOKEN, PUBLISHED, TUNNEL_TOKEN, NodeId, parse_id_untrusted
from tunnel.transport.proxies import Proxies
from tunnel.transport.tls import TlsConfig

from .addresses import check_address, is_public
from .alone import PROXY_SERVICE, Alone
from .local_ports import LISTEN, Forward, check_once
from .point_to_point import TUNNEL_SERVICE, PointToPoint
from .resolver.choice import FLAG as RESOLVER
from .resolver.choice import Choice, Kind, check_srv_name, is_looked_up, is_srv_name, parse_resolver
from .tokens import read_tokens

MAX_NAME: Final = 255
"""Longest name of a node or network, in characters: as long as a DNS name may be."""

MAX_PRICE: Final = 10_000
"""Highest price of a link: more than a hundred times what the worst delay and loss cost together."""

NODE_SERVICE: Final = "go.micro.network"
"""The name nodes of a network register under."""

EVERY_LINK: Final = "*"
"""Stands for every link that has no price of its own."""


class PublicAddress(BadRequest):
    """The token that everybody knows, on an address that everybody can reach."""

    def __init__(self, address: str, command: str = "NETWORK") -> None:
        super().__init__(
            f"--address (MICRO_{command}_ADDRESS) {address} can be reached from anywhere, and the default token lets "
            f"anybody in: set MICRO_{command}_TOKEN (--token) to a secret that your nodes share"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The configuration of one node. Raises `BadRequest` naming flag and variable of a value that cannot be used."""

    address: str = ":8085"
    """Where other nodes reach this one: `host:port` for tcp and WebSocket alike, an empty host for every interface,
    port 0 for a free one; `mem://name` inside one process."""
    advertise: str = ""
    """The address other nodes are told, where it is not the one bound: behind NAT or a load balancer."""
    nodes: tuple[str, ...] = ()
    """Addresses of other nodes, dialled for ever."""
    token: str | None = field(default=None, repr=False)
    """The secret that all nodes of a network share; None for the default one, where `token_file` names none. With the
    default any node may join, so only loopback and private peers are let in."""
    token_file: str = ""
    """The file in which the secret stands instead, or up to four that are accepted at once; see `tokens`."""
    tokens: tuple[str, ...] = field(init=False, repr=False)
    """The tokens that came of these two, the one to dial with first."""
    admit: tuple[str, ...] = ()
    """Ids of the only nodes that may link with this one; none for all that have a token."""
    network: str = "go.micro"
    """The network's name: nodes of different networks do not link."""
    resolver: str = field(default="registry", repr=False)
    """`registry` also dials the nodes that stand in the local registry, `static` only `nodes`. `dns` looks `nodes` up
    and dials what it finds, `dns://ip:port` does so with a DNS server of one's own. The `http://` or `https://` URL of
    a list, which may hold a password, also dials the nodes on it."""
    tls: TlsConfig = field(default_factory=TlsConfig)
    """Certificates, for links inside TLS: `--tls-ca` (MICRO_TLS_CA), `--tls-cert` (MICRO_TLS_CERT) and `--tls-key`
    (MICRO_TLS_KEY)."""
    proxies: Proxies = field(default_factory=Proxies)
    """Through which HTTP proxy links are dialled: `--via` (MICRO_VIA), or HTTPS_PROXY and NO_PROXY."""
    proxy_address: str = ":8081"
    """Where programs reach this node: `host:port`; see `proxy_tokens` for who is let in."""
    proxy_tokens: tuple[str, ...] = field(default=(), repr=False)
    """What programs of other hosts have to show, any of these; with none, private peers need show nothing and others
    are not let in."""
    proxy_token_file: str = ""
    """The file that these were read from, to be read again; empty where they came from elsewhere."""
    proxy_tls: ProxyTlsConfig = field(default_factory=ProxyTlsConfig)
    """The certificate that programs are shown who speak TLS to the node itself: `--proxy-tls-cert`
    (MICRO_PROXY_TLS_CERT) and `--proxy-tls-key` (MICRO_PROXY_TLS_KEY)."""
    name: str = ""
    """What people call this node, beside its id."""
    advertise_strategy: str = "all"
    """What others are told: `all` (and `best`, at present the same) tells the services here and carries others' calls;
    `local` tells them to direct neighbours and carries nothing; `none` tells nothing, carries nothing and only calls.
    """
    exports: tuple[str, ...] = ()
    """Patterns of the services that others are told of, as `Policy` has them; none for all."""
    imports: tuple[str, ...] = ()
    """Likewise, of the services at other nodes that programs here may call."""
    listens: tuple[Forward, ...] = ()
    """Local ports that lead to one service each; programs need no token there."""
    gateway: str = ""
    """Name or id of the node that takes calls for services nobody is known to offer; empty for none."""
    max_calls: int = 0
    """How many calls to one service may be open on its instances here; what comes then is refused at once, or goes to
    another node. 0 for any number."""
    limits: Limits = field(default_factory=Limits)
    """How long connections and calls of programs may take, and how long a body may be."""
    link_prices: tuple[tuple[str, int], ...] = ()
    """What a link costs beside its delay and loss, from 0 to 10,000, by the peer's id, its name, the address it was
    dialled at, or `*` for every other; the first of these that has a price counts. One is the price of a hop."""
    access_log: bool = False
    """Whether every call that is opened here has its line in the log; else only those that went wrong or were slow."""
    point_to_point: PointToPoint | None = None
    """What makes it an end of a tunnel; None for a node of a network."""
    alone: Alone | None = None
    """What makes it a proxy alone, which links with nobody; None for any other node."""
    registry: str = field(default="", repr=False)
    """Kind of the local registry; empty for the built-in default."""
    registry_address: str = field(default="", repr=False)
    """Where that registry is; empty for its default."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", self._find_tokens())
        tunnel = self.point_to_point
        for what, name in (
            ("--network (MICRO_NETWORK)", self.network),
            ("--name (MICRO_NETWORK_NAME)" if tunnel is None else "--id (MICRO_TUNNEL_ID)", self.name),
            ("--id (MICRO_TUNNEL_ID)", "" if tunnel is None else tunnel.pin),
            ("--gateway (MICRO_NETWORK_GATEWAY)", self.gateway),
        ):
            if len(name) > MAX_NAME or not name.isprintable():
                raise BadRequest(f"{what} is longer than {MAX_NAME} characters or not printable")
        if not self.network:
            raise BadRequest("--network (MICRO_NETWORK) is empty")
        host = ""
        if self.address or (self.point_to_point is None and self.alone is None):
            host = check_address(self.address, self.flag_of_address, bind=True)
        if self.advertise:
            check_address(self.advertise, "--advertise (MICRO_NETWORK_ADVERTISE)")
        self._check_nodes()
        proxy = self.flag_of_proxy
        if "://" in self.proxy_address:
            raise BadRequest(f"{proxy} is {self.proxy_address!r}; it is host:port")
        check_address(self.proxy_address, proxy, bind=True)
        if self.default_token and is_public(host):
            raise PublicAddress(self.address, self.command)
        self.admitted  # noqa: B018 - it raises
        self._check_routing()
        check_once(self.listens, LISTEN)

    def _find_tokens(self) -> tuple[str, ...]:
        token, file = self.flags_of_tokens
        if self.token == "":
            raise BadRequest(f"{token} is empty: without it anybody could join")
        if not self.token_file:
            return (self.token or (DEFAULT_TOKEN if self.point_to_point is None else TUNNEL_TOKEN),)
        if self.token is not None:
            raise BadRequest(
                f"both {token} and {file} are given: the file holds every token that is accepted, so leave one of them "
                "out"
            )
        return read_tokens(self.token_file, file)

    def _check_nodes(self) -> None:
        dns = self.choice.kind is Kind.DNS
        if dns and not self.nodes:
            raise BadRequest(
                f"{RESOLVER} is {self.resolver}, and {self.flag_of_nodes} has no name to look up: give one, "
                "as host:port, or without port where SRV records have it"
            )
        for node in self.nodes:
            if dns and "://" not in node and is_srv_name(node) and is_looked_up(node):
                check_srv_name(node, self.flag_of_nodes)
            else:
                check_address(node, self.flag_of_nodes)

    def _check_routing(self) -> None:
        for flag, value in (
            ("idle-timeout", self.limits.idle),
            ("stall-timeout", self.limits.stall),
            ("call-timeout", self.limits.call),
            ("max-body", self.limits.max_body),
            ("max-calls", self.max_calls),
        ):
            if not 0 <= value < math.inf:
                variable = f"MICRO_{self.command}_{flag.replace('-', '_').upper()}"
                raise BadRequest(f"--{flag} ({variable}) is {value}; it is a number from 0, which is no limit")
        if self.advertise_strategy not in list(Strategy):
            raise BadRequest(
                f"--advertise-strategy (MICRO_NETWORK_ADVERTISE_STRATEGY) is {self.advertise_strategy!r}; "
                f"known are {', '.join(Strategy)}"
            )
        for what, patterns in (
            ("--export (MICRO_NETWORK_EXPORT)", self.exports),
            ("--import (MICRO_NETWORK_IMPORT)", self.imports),
        ):
            try:
                Policy(exports=patterns)
            except BadRequest as error:
                raise BadRequest(f"{what}: {error}") from None
        for node, price in self.link_prices:
            if not node or not 0 <= price <= MAX_PRICE:
                raise BadRequest(
                    f"--link-price (MICRO_NETWORK_LINK_PRICE) has {node}={price}; it is NODE=PRICE with a price from "
                    f"0 to {MAX_PRICE}"
                )

    @property
    def admitted(self) -> frozenset[NodeId] | None:
        """The ids of `admit`; None where all are admitted. Raises `BadRequest` for one that is none."""
        try:
            return frozenset(map(parse_id_untrusted, self.admit)) or None
        except RemoteProtocolError as error:
            places = "in the ready line of each node, and in `micro network nodes`"
            if self.point_to_point is not None:
                places = "in the ready line of each end"
            raise BadRequest(f"--admit (MICRO_{self.command}_ADMIT): {error}; ids are {places}") from None

    @property
    def flags_of_tokens(self) -> tuple[str, str]:
        """What sets the token, and what its file, for people."""
        return f"--token (MICRO_{self.command}_TOKEN)", f"--token-file (MICRO_{self.command}_TOKEN_FILE)"

    @property
    def choice(self) -> Choice:
        """How other nodes are found, as `resolver` says; raises `BadRequest` where it says nothing known."""
        return parse_resolver(self.resolver)

    @property
    def policy(self) -> Policy:
        """What is told, believed and carried."""
        return Policy(strategy=Strategy(self.advertise_strategy), exports=self.exports, imports=self.imports)

    @property
    def default_token(self) -> bool:
        """Whether one of the tokens is one that everybody knows."""
        return not PUBLISHED.isdisjoint(self.tokens)

    @property
    def command(self) -> str:
        """The command that this is the configuration of, as its variables have it."""
        if self.alone is not None:
            return "PROXY"
        return "NETWORK" if self.point_to_point is None else "TUNNEL"

    @property
    def flag_of_address(self) -> str:
        """The flag that says where other nodes reach this one."""
        return f"--address (MICRO_{self.command}_ADDRESS)"

    @property
    def flag_of_proxy(self) -> str:
        """The flag that says where programs do."""
        if self.alone is not None:
            return "--address (MICRO_PROXY_ADDRESS)"
        return f"--proxy-address (MICRO_{'' if self.point_to_point is None else 'TUNNEL_'}PROXY_ADDRESS)"

    @property
    def flag_of_max_calls(self) -> str:
        """The flag that says how many calls to one service may be open here."""
        return f"--max-calls (MICRO_{self.command}_MAX_CALLS)"

    @property
    def flag_of_nodes(self) -> str:
        """The flag that names the nodes to dial."""
        tunnel = self.point_to_point is not None
        return "--server (MICRO_TUNNEL_SERVER)" if tunnel else "--nodes (MICRO_NETWORK_NODES)"

    @property
    def service(self) -> str:
        """The name that the node has of its own, under which it registers unless it stands before a service."""
        if self.alone is not None:
            return PROXY_SERVICE
        return NODE_SERVICE if self.point_to_point is None else TUNNEL_SERVICE
