"""`micro proxy`: the proxy alone, without links."""

from typing import Any

import click

from sdk.errors import BadRequest

from .entry import run_node
from .limits import limit_flags, limit_values
from .options import Command, settings
from .proxy_tls import proxy_tls_options, proxy_tls_values
from .proxy_token import proxy_token_options, proxy_token_values


@click.command(cls=Command)
@click.option(
    "--address", "proxy_address", envvar=["MICRO_PROXY_ADDRESS", "MICRO_SERVER_ADDRESS"], show_envvar=True,
    default=":8081", show_default=True, help="Where programs reach it.",
)  # fmt: skip
@click.option(
    "--endpoint", envvar="MICRO_PROXY_ENDPOINT", show_envvar=True, default="", metavar="[SCHEME://]HOST:PORT",
    help="The one back end that the proxy stands before: grpc:// (the same without a scheme), http://, tcp://, or "
    "micro:// for a service of the SDK.",
)  # fmt: skip
@click.option(
    "--server-name", envvar="MICRO_SERVER_NAME", show_envvar=True, default="", metavar="NAME",
    help="With --endpoint, the name of the service, under which the proxy registers.",
)  # fmt: skip
@proxy_token_options
@proxy_tls_options
@limit_flags("PROXY")
def proxy(proxy_address: str, endpoint: str, server_name: str, **flags: Any) -> None:
    """Run the proxy alone: programs reach the services of this environment through it, and there are no links.

    It registers as go.micro.proxy, so MICRO_PROXY=go.micro.proxy is all that a program needs. With --endpoint it stands
    before one program that knows nothing of micro, and registers under the name of that service instead.
    """
    from mesh.alone import ENDPOINT, SERVER_NAME, parse_back_end, proxy_values
    from mesh.config import NodeConfig

    if endpoint and not server_name:
        raise BadRequest(f"{ENDPOINT} is given without {SERVER_NAME}: the service needs a name to be called by")
    config = NodeConfig(
        registry=settings().registry,
        registry_address=settings().registry_address,
        proxy_address=proxy_address,
        **proxy_token_values(flags),
        **proxy_tls_values(flags),
        **limit_values(flags),
        **proxy_values(back_end=parse_back_end(server_name, endpoint) if endpoint else None),
    )
    run_node(config, "", _ready_line)


def _ready_line(ready: Any) -> str:
    return f"ready micro proxy id={ready.id} proxy={','.join(ready.proxy)}"
