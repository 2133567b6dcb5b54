"""`micro network`: runs a node; its subcommands ask one that runs."""

import os
from collections.abc import Callable
from itertools import chain
from typing import Any

import click

from sdk.errors import BadRequest

from .ask import COMMANDS
from .entry import NETWORK, entry_flags, entry_values, run_node
from .limits import limit_flags, limit_values
from .links import link_flags, link_values
from .options import Group, Several, settings
from .proxy_tls import proxy_tls_options, proxy_tls_values
from .proxy_token import proxy_token_options, proxy_token_values


def _flag(name: str, variable: str, text: str, *, keep_as: str = "", **more: Any) -> Callable[[Any], Any]:
    names = (name, keep_as) if keep_as else (name,)
    return click.option(
        *names, envvar=variable, show_envvar=True, help=text, **{"show_default": bool(more.get("default")), **more}
    )


def _list_flag(name: str, variable: str, text: str, *, keep_as: str, metavar: str) -> Callable[[Any], Any]:
    """A flag that may be given several times, and whose values may hold several, separated by commas."""
    return _flag(name, variable, text, keep_as=keep_as, metavar=metavar, type=Several(), multiple=True)


@click.group(cls=Group, invoke_without_command=True)
@_flag("--address", "MICRO_NETWORK_ADDRESS", "Where other nodes reach this one.", default=":8085")
@_flag("--advertise", "MICRO_NETWORK_ADVERTISE", "The address they are told, where it is another.", default="")
@_flag("--nodes", "MICRO_NETWORK_NODES", "Addresses of other nodes, separated by commas; see --resolver.", default="")
@entry_flags(NETWORK)
@_flag("--network", "MICRO_NETWORK", "The network's name.", default="go.micro")
@_flag(
    "--resolver", "MICRO_NETWORK_RESOLVER", "How nodes are found besides: registry, in the local registry; static, not "
    "at all; dns, each of --nodes is a name to look up, with a port, or without one where SRV records have it; "
    "dns://IP:PORT does so at this DNS server; the http:// or https:// URL of a list, the nodes on it. A password in "
    "the URL is better given by the variable.",
    metavar="registry|static|dns|URL", default="registry",
)  # fmt: skip
@_flag(
    "--proxy-address", "MICRO_PROXY_ADDRESS", "Where programs reach this node; for a subcommand, the node to ask.",
    show_default=":8081",
)  # fmt: skip
@link_flags
@proxy_token_options
@proxy_tls_options
@_flag("--web-address", "MICRO_WEB_ADDRESS", "There is no console yet.", type=click.Choice(["off"]), default="off")
@_flag(
    "--access-log", "MICRO_NETWORK_ACCESS_LOG", "A line in the log for every call of programs of this node, and not "
    "only for those that went wrong or took a second.",
    is_flag=True, default=False,
)  # fmt: skip
@_flag("--name", "MICRO_NETWORK_NAME", "What people call this node.", default="")
@_flag(
    "--advertise-strategy", "MICRO_NETWORK_ADVERTISE_STRATEGY", "What other nodes are told: all (best does the same at "
    "present) tells what runs here and carries others' calls; local tells direct neighbours only and carries nothing; "
    "none tells nothing, carries nothing and only calls.",
    type=click.Choice(["all", "best", "local", "none"]), default="all",
)  # fmt: skip
@_list_flag(
    "--export", "MICRO_NETWORK_EXPORT", "Services that others are told of, as patterns such as 'public.*', or "
    "'!internal.*' for all but those; the last that fits decides. Repeatable, or separated by commas.",
    keep_as="exports", metavar="PATTERN",
)  # fmt: skip
@_list_flag(
    "--import", "MICRO_NETWORK_IMPORT", "Services of other nodes that can be called through this one, as patterns "
    "likewise.",
    keep_as="imports", metavar="PATTERN",
)  # fmt: skip
@_list_flag(
    "--listen", "MICRO_NETWORK_LISTEN", "Opens a local port that leads to a TCP service, wherever it runs; on loopback "
    "unless a host is given. Repeatable, or separated by commas.",
    keep_as="listens", metavar="[HOST:]PORT=SERVICE",
)  # fmt: skip
@_flag(
    "--gateway", "MICRO_NETWORK_GATEWAY", "Id or name of the node that takes calls for services nobody is known to "
    "offer.",
    metavar="NODE", default="",
)  # fmt: skip
@limit_flags(NETWORK)
@_list_flag(
    "--link-price", "MICRO_NETWORK_LINK_PRICE", "What the link with a node costs beside its delay and loss; the node "
    "by id, name or the address dialled, or * for every other. Repeatable, or separated by commas.",
    keep_as="link_prices", metavar="NODE=PRICE",
)  # fmt: skip
@click.pass_context
def network(context: click.Context, /, nodes: str, web_address: str, data_dir: str, **flags: Any) -> None:
    """Run a node of the network, or ask one that runs.

    The node links to the others it is told of, learns what they offer, tells them what the local registry holds, and
    carries the calls of programs here to wherever the service runs: MICRO_PROXY=go.micro.network is all they need.
    """
    if context.invoked_subcommand is None:
        _run_node(flags, nodes, data_dir)


def _run_node(flags: dict[str, Any], nodes: str, data_dir: str) -> None:
    from mesh.config import NodeConfig
    from mesh.local_ports import parse_listen

    for several, open_to in (("exports", "tell others of every service"), ("imports", "call every service of others")):
        flags[several] = _patterns(several.removesuffix("s"), flags[several], open_to)
    for several in ("link_prices", "listens"):
        flags[several] = tuple(chain.from_iterable(flags[several]))
    flags["link_prices"] = tuple(map(_price, flags["link_prices"]))
    flags["listens"] = tuple(map(parse_listen, flags["listens"]))
    config = NodeConfig(
        nodes=tuple(node.strip() for node in nodes.split(",") if node.strip()),
        registry=settings().registry,
        registry_address=settings().registry_address,
        **entry_values(NETWORK, flags),
        **proxy_token_values(flags),
        **proxy_tls_values(flags),
        **link_values(flags),
        **limit_values(flags),
        **{name: value for name, value in flags.items() if value is not None},
    )
    run_node(config, data_dir, lambda ready: _ready_line(config.name, ready))


def _patterns(flag: str, groups: tuple[tuple[str, ...], ...], open_to: str) -> tuple[str, ...]:
    """Raises `BadRequest` where the flag or its variable is given without a pattern: most likely a list that failed to
    arrive, and without any pattern there is no limit."""
    patterns = tuple(chain.from_iterable(groups))
    variable = f"MICRO_NETWORK_{flag.upper()}"
    if not patterns and (groups or os.environ.get(variable) is not None):
        raise BadRequest(f"--{flag} ({variable}) is empty: leave it out to {open_to}, or give '!*' for none")
    return patterns


def _price(text: str) -> tuple[str, int]:
    node, _, price = text.rpartition("=")
    try:
        return node.strip(), int(price)
    except ValueError:
        raise BadRequest(f"--link-price (MICRO_NETWORK_LINK_PRICE) has {text!r}; it is NODE=PRICE") from None


def _ready_line(name: str, ready: Any) -> str:
    ports = {"link": ready.link, "proxy": ready.proxy, "listen": ready.forwards}
    said = [f"{title}={','.join(addresses)}" for title, addresses in ports.items() if addresses]
    return " ".join(["ready micro network", *([name] if name else []), f"id={ready.id}", *said])


for subcommand in COMMANDS:
    network.add_command(subcommand)
