"""Whom a short command asks: a node somebody named, or the local registry.

`MICRO_PROXY_ADDRESS` has two readers. For `micro network` itself it is where the node listens; for every command that
asks, it is the node to ask. So a machine that runs a node needs to be told once.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click
from click.core import ParameterSource

from sdk import Client
from sdk.errors import BadRequest
from sdk.netaddress import join_address, split_address
from sdk.options import is_addresses, split_addresses
from sdk.registry import Registry, open_registry

from .options import by_flag, settings

EVERY_INTERFACE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to

ask_option = click.option(
    "--proxy-address",
    metavar="HOST:PORT",
    envvar="MICRO_PROXY_ADDRESS",
    show_envvar=True,
    help="The node to ask; else MICRO_PROXY, else the local registry.",
)
"""The flag of a command that asks a node."""


def registry() -> Registry:
    """The local registry, as the flags say."""
    asked = settings()
    return open_registry(asked.registry, asked.registry_address)


def registry_of(proxy_address: str | None) -> Registry:
    """The registry that a command works on: the one that the flags of this command name, else that of the node at this
    address or at MICRO_PROXY, else the local one."""
    node = node_of_registry(proxy_address)
    return open_registry("service", node) if node else registry()


def node_of_registry(proxy_address: str | None) -> str:
    """The address of the node whose registry that is; empty where it is no node's."""
    context = click.get_current_context()
    if not (by_flag("registry") or by_flag("registry_address")) or (
        context.get_parameter_source("proxy_address") is ParameterSource.COMMANDLINE
    ):
        node = node_to_ask(proxy_address)
        if ":" in node:
            return node
    return ""


@asynccontextmanager
async def client(proxy_address: str | None) -> AsyncIterator[Client]:
    """A client that calls through the node at this address, else as MICRO_PROXY says, else by the local registry."""
    proxy = node_to_ask(proxy_address)
    if ":" in proxy:  # an address: there is nothing to look up
        async with Client(proxy=proxy) as caller:
            yield caller
    else:
        async with registry() as store, Client(proxy=proxy, registry=store) as caller:
            yield caller


def node_to_ask(proxy_address: str | None) -> str:
    """The node that calls go through: the one at this address, else the one MICRO_PROXY names, else none. Raises
    `click.UsageError` for what is no address, wherever it comes from."""
    named = os.environ.get("MICRO_PROXY", "")
    try:
        if node := reachable(proxy_address):
            return node
    except BadRequest as error:
        raise click.UsageError(f"--proxy-address (MICRO_PROXY_ADDRESS): {error}") from None
    try:
        if is_addresses(named):
            split_addresses(named)
    except BadRequest as error:
        raise click.UsageError(f"MICRO_PROXY: {error}") from None
    return named


def reachable(address: str | None) -> str | None:
    """The address to dial where a node may listen: this machine where no host is named, nothing for port 0."""
    if not address:
        return None
    host, port = split_address(address)
    if port == 0:
        return None
    return join_address("127.0.0.1" if host in EVERY_INTERFACE else host, port)
