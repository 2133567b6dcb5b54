"""Whom a short command asks: a node somebody named, or the local registry.

`MICRO_PROXY_ADDRESS` has two readers. For `micro network` itself it is where the node listens; for every command that
asks, it is the node to ask. So a machine that runs a node needs to be told once.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from .options import settings

if TYPE_CHECKING:
    from sdk import Client
    from sdk.registry import Registry

EVERY_INTERFACE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to

ask_option = click.option(
    "--proxy-address",
    metavar="HOST:PORT",
    envvar="MICRO_PROXY_ADDRESS",
    show_envvar=True,
    help="The node to ask; else MICRO_PROXY, else the local registry.",
)
"""The flag of a command that asks a node."""


def registry() -> "Registry":
    """The local registry, as the flags say."""
    from sdk.registry import open_registry

    asked = settings()
    return open_registry(asked.registry, asked.registry_address)


@asynccontextmanager
async def client(proxy_address: str | None) -> AsyncIterator["Client"]:
    """A client that calls through the node at this address, else as MICRO_PROXY says, else by the local registry."""
    from sdk import Client

    proxy = reachable(proxy_address)
    async with Client(registry=registry(), **({} if proxy is None else {"proxy": proxy})) as client:
        yield client


def reachable(address: str | None) -> str | None:
    """The address to dial where a node may listen: this machine where no host is named, nothing for port 0."""
    from sdk.netaddress import join_address, split_address

    if not address:
        return None
    host, port = split_address(address)
    if port == 0:
        return None
    return join_address("127.0.0.1" if host in EVERY_INTERFACE else host, port)
