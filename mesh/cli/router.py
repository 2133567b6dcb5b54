"""`micro router`: the routing table as a service of its own."""

from typing import Any

import click

from .options import Command, settings
from .proxy_token import proxy_token_options, proxy_token_values
from .run import run_until_signal


@click.command(cls=Command)
@click.option(
    "--address", envvar="MICRO_ROUTER_ADDRESS", show_envvar=True, default=":8084", show_default=True,
    help="Where programs reach it.",
)  # fmt: skip
@proxy_token_options
@click.option(
    "--network", envvar="MICRO_NETWORK", show_envvar=True, default="go.micro", show_default=True,
    help="The network's name, which stands in the routes.",
)  # fmt: skip
def router(**flags: Any) -> None:
    """Run the routing table of this environment, for programs that want routes and not the proxy.

    It offers go.micro.router: Router.Lookup, Router.Watch, Table.Query, and Table.Create, Table.Update and Table.Delete
    for routes that are put in by hand. Every node offers the first three as well.
    """
    from mesh.standalone import Router, RouterConfig

    config = RouterConfig(
        **proxy_token_values(flags), registry=settings().registry, registry_address=settings().registry_address, **flags
    )
    program = Router(config)
    run_until_signal(program, _ready_line, hangup=program.reload)


def _ready_line(ready: Any) -> str:
    return f"ready micro router id={ready.id} address={','.join(ready.address)}"
