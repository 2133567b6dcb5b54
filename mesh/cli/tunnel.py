"""`micro tunnel`: joins two environments, point to point."""

import os
from itertools import chain
from typing import Any

import click

from sdk.errors import BadRequest

from .entry import TUNNEL, entry_flags, entry_values, run_node
from .links import link_flags, link_values
from .options import Command, Several, settings
from .proxy_tls import proxy_tls_options, proxy_tls_values
from .proxy_token import proxy_token_options, proxy_token_values


@click.command(cls=Command)
@click.option(
    "--server", "servers", envvar="MICRO_TUNNEL_SERVER", show_envvar=True, type=Several(), multiple=True,
    metavar="HOST:PORT",
    help="The other end, which is dialled. Repeatable, or separated by commas. Without it this end waits.",
)  # fmt: skip
@click.option(
    "--address", envvar="MICRO_TUNNEL_ADDRESS", show_envvar=True,
    help="Where the other end reaches this one. [default: :8083; with --server: none]",
)  # fmt: skip
@click.option(
    "--id", envvar="MICRO_TUNNEL_ID", show_envvar=True, default="",
    help="The name of this end; with --server, the one of the servers, by its name or id, that calls go to.",
)  # fmt: skip
@entry_flags(TUNNEL)
@click.option(
    "--proxy-address", envvar="MICRO_TUNNEL_PROXY_ADDRESS", show_envvar=True,
    help="Where programs reach this end. [default: a free port, which MICRO_PROXY=go.micro.tunnel finds]",
)  # fmt: skip
@link_flags
@proxy_token_options
@proxy_tls_options
@click.option(
    "--forward", "forwards", envvar="MICRO_TUNNEL_FORWARD", show_envvar=True, type=Several(), multiple=True,
    metavar="[HOST:]PORT:SERVICE",
    help="Opens a local port that leads to the TCP service over there; on a host other than this one's loopback, every "
    "program of a private network gets in, whatever --proxy-token says. Repeatable, or separated by commas.",
)  # fmt: skip
@click.option(
    "--expose", "exposes", envvar="MICRO_TUNNEL_EXPOSE", show_envvar=True, type=Several(), multiple=True,
    metavar="NAME=HOST:PORT",
    help="Offers a TCP address of this side under a name. Repeatable, or separated by commas.",
)  # fmt: skip
def tunnel(servers: tuple[tuple[str, ...], ...], address: str | None, id: str, data_dir: str, **flags: Any) -> None:
    """Join this environment with another one, point to point.

    The services in the registry of each side can be called from the other, through MICRO_PROXY=go.micro.tunnel or the
    proxy address, and TCP services through --forward and --expose. Only the end with --server dials, so it may be
    behind NAT.
    """
    from mesh.config import NodeConfig
    from mesh.point_to_point import parse_expose, parse_forward, tunnel_values

    dialled = tuple(chain.from_iterable(servers))
    if not dialled and (servers or os.environ.get("MICRO_TUNNEL_SERVER") is not None):
        raise BadRequest("--server (MICRO_TUNNEL_SERVER) is empty: leave it out where this end waits to be dialled")
    if address == "" and not dialled:
        raise BadRequest("--address (MICRO_TUNNEL_ADDRESS) is empty, and there is no --server: nobody could link")
    several = {
        "forwards": tuple(parse_forward(each) for group in flags.pop("forwards") for each in group),
        "exposes": tuple(parse_expose(each) for group in flags.pop("exposes") for each in group),
    }
    shared = {
        **entry_values(TUNNEL, flags),
        **proxy_token_values(flags),
        **proxy_tls_values(flags),
        **link_values(flags),
    }
    values = {name: value for name, value in flags.items() if value is not None}
    config = NodeConfig(
        registry=settings().registry,
        registry_address=settings().registry_address,
        **shared,
        **tunnel_values(servers=dialled, address=address, id=id, **several, **values),
    )
    run_node(config, data_dir, lambda ready: _ready_line(config.name, ready))


def _ready_line(name: str, ready: Any) -> str:
    ports = {"link": ready.link, "proxy": ready.proxy, "forward": ready.forwards}
    said = [f"{title}={','.join(addresses)}" for title, addresses in ports.items() if addresses]
    return " ".join(["ready micro tunnel", name, f"id={ready.id}", *said])
