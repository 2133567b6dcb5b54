"""`micro registry`: a registry as a service of its own."""

from typing import Any

import click

from .options import Command
from .proxy_token import proxy_token_options, proxy_token_values
from .run import run_until_signal


@click.command(cls=Command)
@click.option(
    "--address", envvar="MICRO_SERVER_ADDRESS", show_envvar=True, default=":8000", show_default=True,
    help="Where programs and nodes reach it.",
)  # fmt: skip
@click.option(
    "--store", envvar="MICRO_REGISTRY_STORE", show_envvar=True, default="memory", show_default=True,
    type=click.Choice(["memory", "sqlite"]), help="Where the records are kept: as long as it runs, or in a file.",
)  # fmt: skip
@click.option(
    "--store-address", envvar="MICRO_REGISTRY_STORE_ADDRESS", show_envvar=True, default="", metavar="PATH",
    help="The file of --store sqlite; else the one that the registry sqlite has by itself.",
)  # fmt: skip
@proxy_token_options
def registry(**flags: Any) -> None:
    """Run a registry for hosts that have none: programs and nodes use it with --registry service --registry-address
    HOST:8000.

    It offers go.micro.registry: Registry.Register, Registry.Deregister, Registry.GetService, Registry.ListServices and
    Registry.Watch. Programs of other hosts need --proxy-token to register. It has a store of its own, and passes over
    --registry and --registry-address, which say where the others look.
    """
    from mesh.registry_program import RegistryConfig, RegistryProgram

    program = RegistryProgram(RegistryConfig(**proxy_token_values(flags), **flags))
    run_until_signal(program, _ready_line, hangup=program.reload)


def _ready_line(bound: Any) -> str:
    return f"ready micro registry address={','.join(bound)}"
