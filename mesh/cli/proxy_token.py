"""The flags of a proxy port's token, which several commands have.

`MICRO_PROXY_TOKEN` has two readers: a command that listens asks programs for it, a program that calls shows it. So a
machine that runs both needs to be told once.
"""

import os
from typing import Any

import click

from sdk.errors import BadRequest


def proxy_token_options(command: Any) -> Any:
    """Adds `--proxy-token` and `--proxy-token-file`; `take_proxy_tokens` reads them."""
    command = click.option(
        "--proxy-token-file", envvar="MICRO_PROXY_TOKEN_FILE", show_envvar=True, default="", metavar="PATH",
        help="A file with up to four such secrets, one in a line, in place of --proxy-token.",
    )(command)  # fmt: skip
    return click.option(
        "--proxy-token", envvar="MICRO_PROXY_TOKEN", show_envvar=True,
        help="The secret that programs of other hosts have to show. Without it, those of private networks are let in "
        "and no others. On the command line every user of this machine can read it: better set the variable.",
    )(command)  # fmt: skip


def take_proxy_tokens(flags: dict[str, Any]) -> tuple[str, ...]:
    """Takes both flags out of what a command was given; raises `BadRequest` where they make no sense."""
    from mesh.tokens import proxy_tokens

    token, file = flags.pop("proxy_token"), flags.pop("proxy_token_file")
    if token is None and not file:
        # Most likely a secret that failed to arrive, which must not open the port.
        if os.environ.get("MICRO_PROXY_TOKEN") == "":
            token = ""
        elif os.environ.get("MICRO_PROXY_TOKEN_FILE") == "":
            raise BadRequest(
                "--proxy-token-file (MICRO_PROXY_TOKEN_FILE) is empty: it is the path of a file with tokens"
            )
    return proxy_tokens(token, file)


def proxy_token_values(flags: dict[str, Any]) -> dict[str, Any]:
    """Likewise, and makes of them what `NodeConfig` takes: a node can read the file again."""
    file = flags["proxy_token_file"]
    return {"proxy_tokens": take_proxy_tokens(flags), "proxy_token_file": file}
