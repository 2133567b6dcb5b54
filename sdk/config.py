"""What services and clients are told from outside: flags and variables, and the values they set.

A variable beats what the program says, a flag beats the variable: whoever runs a program knows better where it runs
than who wrote it.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from .arguments import COUNT, SECONDS, check, text
from .errors import BadRequest
from .netaddress import split_address, split_host

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_seconds(text: str) -> float:
    """`30`, `30s`, `500ms` or `2m` in seconds. Raises `BadRequest`."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|)", text.strip())
    if match is None or float(match[1]) == 0:
        raise BadRequest(f"{text!r} is no time: expected seconds above zero, such as 30, 500ms or 2m")
    return float(match[1]) * _UNITS[match[2]]


def parse_count(text: str) -> int:
    """A whole number, 0 or more. Raises `BadRequest`."""
    if re.fullmatch(r"[0-9]{1,9}", text.strip()) is None:
        raise BadRequest(f"{text!r} is no number: expected 0, 1, 2 …")
    return int(text)


def _parse_nodes(text: str) -> tuple[str, ...]:
    nodes = tuple(dict.fromkeys(filter(None, (each.strip() for each in text.split(",")))))
    for node in nodes:
        if not split_address(node)[1]:
            raise BadRequest(f"{node!r} is no address of a node: port 0 is nobody's")
    return nodes


def _parse_attach(text: str) -> str:
    _parse_nodes(text)
    return text


def _parse_advertise(text: str) -> str:
    split_host(text)
    return text


def _parse_address(text: str) -> str:
    split_address(text)
    return text


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """What a client is told."""

    proxy: str = ""
    """The node that all calls go through: `host:port`, several of them with commas between, or a name in the registry.
    Empty: none."""
    registry: str = dataclasses.field(default="", repr=False)
    """Kind of the registry; empty for the default."""
    registry_address: str = dataclasses.field(default="", repr=False)
    """Where it is; empty for its default."""
    proxy_token: str = dataclasses.field(default="", repr=False)
    """What is shown to that node, where its proxy port asks for it. It is never shown to instances called directly."""
    request_timeout: float = 5.0
    """Seconds a unary call may take when its caller set no deadline."""
    retries: int = 1
    """How often a unary call is tried again, where that is safe and no node does it; go-micro's default."""

    def __post_init__(self) -> None:
        check("ClientConfig", _CLIENT, {name: getattr(self, name) for name in _CLIENT})

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Reads the variables; raises `BadRequest` naming the one that makes no sense."""
        return cls(**_override(CLIENT_SETTINGS, environment))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """What a service is told."""

    name: str
    """What callers call it by."""
    version: str = "latest"
    """Its version in the registry."""
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Labels in the registry."""
    address: str = "127.0.0.1:0"
    """Where it listens: `host:port`, an empty host for every interface, port 0 for a free one. By default only programs
    and nodes of the same host can call it, and only they find it."""
    advertise: str = ""
    """What the registry is told, where that is not the address it listens on: behind NAT, or in a container."""
    register_ttl: float = 60.0
    """Seconds after which the registry forgets an instance that was killed. Twice the interval: one renewal may
    fail."""
    register_interval: float = 30.0
    """Seconds between renewals."""
    registry: str = dataclasses.field(default="", repr=False)
    """Kind of the registry; empty for the default."""
    registry_address: str = dataclasses.field(default="", repr=False)
    """Where it is; empty for its default."""
    attach: str = ""
    """Nodes to attach to, by the addresses of their proxy ports, separated by commas. The service listens nowhere then
    and is in no registry: the nodes call it over the connections that it opens to them."""
    proxy_token: str = dataclasses.field(default="", repr=False)
    """What is shown to those nodes. One on the same host does not ask for it."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes to attach to; none for a service that listens."""
        return _parse_nodes(self.attach)

    def override(self, environment: Mapping[str, str]) -> Self:
        """The same where the environment says nothing; raises `BadRequest` naming the variable that makes no sense."""
        return dataclasses.replace(self, **_override(SERVICE_SETTINGS, environment))

    def check(self) -> None:
        """Raises `BadRequest` for values that make no sense, or do not go together."""
        for setting in SERVICE_SETTINGS:
            if setting.field in ("attach", "advertise"):
                setting.parsed(getattr(self, setting.field))
        if not 0 < self.register_interval < math.inf:
            raise BadRequest(
                f"--register-interval (MICRO_REGISTER_INTERVAL) is {self.register_interval:g} s: it must be above zero"
            )
        if not self.register_ttl > self.register_interval:
            raise BadRequest(
                f"--register-ttl (MICRO_REGISTER_TTL) is {self.register_ttl:g} s: it must be more than "
                f"--register-interval (MICRO_REGISTER_INTERVAL), {self.register_interval:g} s"
            )


_CLIENT = {
    "proxy": text("localhost:8081"),
    "registry": text("etcd"),
    "registry_address": text("10.0.0.5:2379"),
    "proxy_token": text("what `openssl rand -hex 32` says"),
    "request_timeout": SECONDS,
    "retries": COUNT,
}


class Setting(NamedTuple):
    """One thing that can be set from outside."""

    field: str
    """Which field it sets."""
    variable: str
    """The variable; the flag is said by `flags`."""
    flags: tuple[str, ...]
    """Its flags, with hyphens; the spelling with underscores works as well. None for secrets, which every user of the
    machine could read on the command line."""
    parse: Callable[[str], Any]
    """Text to value; raises `BadRequest`."""
    help: str
    """For `--help`."""

    def parsed(self, text: str) -> Any:
        """The value; raises `BadRequest` naming the flag and the variable."""
        try:
            return self.parse(text)
        except BadRequest as error:
            said = f"{self.flags[-1]} ({self.variable})" if self.flags else self.variable
            raise BadRequest(f"{said}: {error}") from None


_REGISTRY = (
    Setting("registry", "MICRO_REGISTRY", ("--registry",), str, "Kind of the registry."),
    Setting("registry_address", "MICRO_REGISTRY_ADDRESS", ("--registry-address",), str, "Where the registry is."),
)

CLIENT_SETTINGS = (
    *_REGISTRY,
    Setting("proxy", "MICRO_PROXY", (), str, "The node, or nodes, to call through."),
    Setting("proxy_token", "MICRO_PROXY_TOKEN", (), str, "The token that node asks for."),
    Setting("request_timeout", "MICRO_CLIENT_REQUEST_TIMEOUT", (), parse_seconds, "Default deadline of unary calls."),
    Setting("retries", "MICRO_CLIENT_RETRIES", (), parse_count, "How often a call is tried again, called directly."),
)

SERVICE_SETTINGS = (
    Setting("name", "MICRO_SERVER_NAME", ("--server-name", "--name"), str, "What callers call the service by."),
    Setting(
        "address",
        "MICRO_SERVER_ADDRESS",
        ("--server-address", "--address"),
        _parse_address,
        "Where to listen: host:port, :port for every interface, port 0 for a free one.",
    ),
    Setting(
        "advertise",
        "MICRO_SERVER_ADVERTISE",
        ("--server-advertise", "--advertise"),
        _parse_advertise,
        "Address told to the registry: host:port, or host for the port that was bound.",
    ),
    Setting(
        "register_ttl",
        "MICRO_REGISTER_TTL",
        ("--register-ttl",),
        parse_seconds,
        "Seconds until a dead instance is gone.",
    ),
    Setting(
        "register_interval",
        "MICRO_REGISTER_INTERVAL",
        ("--register-interval",),
        parse_seconds,
        "Seconds between renewals.",
    ),
    Setting(
        "attach",
        "MICRO_ATTACH",
        ("--attach",),
        _parse_attach,
        "Nodes to be called through, over connections that are opened to their proxy ports, such as node:8081; several "
        "with commas. Without a port to listen on, and without a registry.",
    ),
    Setting("proxy_token", "MICRO_PROXY_TOKEN", (), str, "The token those nodes ask for."),
    *_REGISTRY,
)


def _override(settings: tuple[Setting, ...], environment: Mapping[str, str]) -> dict[str, Any]:
    """The fields that the environment sets. An empty variable counts as none."""
    values = {}
    for setting in settings:
        if text := environment.get(setting.variable, ""):
            values[setting.field] = setting.parsed(text)
    return values
