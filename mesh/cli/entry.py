"""The flags that say who may link with a node and who the node itself is, for every command that runs one; and how such
a command runs it.

The variables differ by the command: a machine may run a node of a network and an end of a tunnel with the same
environment, and their secrets are not the same.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from sdk.errors import BadRequest

from .options import Several
from .run import run_until_signal

if TYPE_CHECKING:
    from mesh.config import NodeConfig

F = TypeVar("F", bound=Callable[..., Any])

NETWORK: Final = "NETWORK"
"""The command `micro network`, as its variables have it."""

TUNNEL: Final = "TUNNEL"
"""Likewise, `micro tunnel`."""


def entry_flags(command: str) -> Callable[[F], F]:
    """Adds the flags to a command, with the variables of that command; `entry_values` and `run_node` take their
    values."""

    def add(function: F) -> F:
        token, file = f"{_TOKEN[command]} {_BETTER}", f"{_FILE} {_READ_AGAIN[command]}"
        options = (
            _flag("--token", f"MICRO_{command}_TOKEN", token),
            _flag("--token-file", f"MICRO_{command}_TOKEN_FILE", file, metavar="PATH", default=""),
            _flag("--admit", f"MICRO_{command}_ADMIT", _ADMIT, metavar="ID", type=Several(), multiple=True),
            _flag("--data-dir", _data_dir(command), _DATA_DIR, metavar="PATH", default=""),
        )
        for option in reversed(options):
            function = option(function)
        return function

    return add


def entry_values(command: str, flags: dict[str, Any]) -> dict[str, Any]:
    """Takes the flags of who may link out of all flags of a command and makes of them what `NodeConfig` takes.

    Raises `BadRequest` where a variable is set and empty: most likely a secret that failed to arrive, and it must not
    turn into the token that everybody knows, or a list into the leave for all.
    """
    token, file = flags.pop("token"), flags.pop("token_file")
    if token is None and not file:
        if os.environ.get(f"MICRO_{command}_TOKEN") == "":
            token = ""  # which `NodeConfig` refuses, wherever it comes from
        elif os.environ.get(f"MICRO_{command}_TOKEN_FILE") == "":
            raise BadRequest(
                f"--token-file (MICRO_{command}_TOKEN_FILE) is empty: it is the path of a file with tokens"
            )
    groups = flags.pop("admit")
    admit = tuple(chain.from_iterable(groups))
    if not admit and (groups or os.environ.get(f"MICRO_{command}_ADMIT") is not None):
        raise BadRequest(f"--admit (MICRO_{command}_ADMIT) is empty: leave it out to admit every node that has a token")
    return {"token": token, "token_file": file, "admit": admit}


def run_node(config: "NodeConfig", data_dir: str, ready: Callable[[Any], str]) -> None:
    """Runs a node until a signal ends it, with the identity kept in `data_dir`, or a new one where that is empty;
    SIGHUP lets it read its files again. `ready` makes the line that says it has started."""
    from mesh.datadir import kept_identity
    from mesh.node import Node

    with ExitStack() as stack:
        what = f"--data-dir ({_data_dir(config.command)})"
        identity = stack.enter_context(kept_identity(data_dir, what)) if data_dir else None
        node = Node(config, identity=identity)
        run_until_signal(node, ready, hangup=node.reload)


def _data_dir(command: str) -> str:
    return "MICRO_DATA_DIR" if command == NETWORK else f"MICRO_{command}_DATA_DIR"


def _flag(name: str, variable: str, text: str, **more: Any) -> Callable[[Any], Any]:
    return click.option(name, envvar=variable, show_envvar=True, help=text, **more)


_BETTER = "On the command line every user of this machine can read it: better set the variable, or use a file."
_TOKEN = {
    NETWORK: "The secret that the nodes of a network share.",
    TUNNEL: "The secret that both ends share [default: micro, which everybody knows: only private peers are let in].",
}
_FILE = (
    "A file with up to four such secrets, one in a line, in place of --token: each of them lets a node in, the first "
    "is the one to dial with."
)
_READ_AGAIN = {
    NETWORK: "`micro network reload`, or SIGHUP, reads it again, and those of --proxy-token-file, --tls-* and "
    "--proxy-tls-* too.",
    TUNNEL: "SIGHUP reads it again, and those of --proxy-token-file, --tls-* and --proxy-tls-* too.",
}
_ADMIT = (
    "Ids of the only nodes that may link with this one, besides having a token. Repeatable, or separated by commas."
)
_DATA_DIR = (
    "Where the node keeps its key, and so its id, from one start to the next; without it each start makes a new one."
)
