"""The `micro` command.

What only a node uses is imported when one starts: `micro call` does not wait for it.
"""

import signal
import sys

import click

from sdk.signals import end_at_once

from .call import call, stream
from .debug import health, stats
from .network import network
from .options import Group, dashes
from .prompt import prompt
from .proxy import proxy
from .registry import deregister, get, list_, register, watch
from .registry_program import registry
from .render import escape_what_does_not_fit
from .router import router
from .run import exit_status
from .tunnel import tunnel


@click.group(cls=Group, context_settings={"token_normalize_func": dashes})
@click.version_option(package_name="micro-network", message="%(prog)s %(version)s")
def micro() -> None:
    """Call services wherever they run, and run the nodes of the network that carries the calls."""


for command in (
    network, tunnel, proxy, router, registry, call, stream, health, stats, list_, get, register, deregister, watch,
    prompt,
):  # fmt: skip
    micro.add_command(command)


def main() -> None:
    """Runs the command line and ends the process."""
    end_at_once(signal.SIGTERM)
    escape_what_does_not_fit(sys.stdout, sys.stderr)
    sys.exit(exit_status(micro))
