"""The flags that say how long connections and calls of programs may take, how long a body may be and how many calls may
be open, for the commands that run a proxy port."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_IDLE: Final = "How long a connection of a program that speaks HTTP may be without a call; 0 for ever."
_STALL: Final = (
    "How long a call may stand still while bytes wait that a side does not take, or a side has announced bytes that it "
    "does not send; 0 for ever. A call that is silent both ways, such as a long poll or a stream, does not stand still."
)
_CALL: Final = (
    "How long a call may take that brings no deadline of its own, unless it is raw TCP or an upgrade; 0 for ever."
)
_BODY: Final = (
    "How long the body of a request may be; 0 for any length. Of a stream of gRPC, all its messages together."
)
_CALLS: Final = (
    "Calls to one service that may be open on its instances here; more are refused at once, or go to another node. 0 "
    "for any number."
)
_FLAGS: Final[tuple[tuple[str, type[float | int], float, str, str], ...]] = (
    ("--idle-timeout", float, 300.0, "SECONDS", _IDLE),
    ("--stall-timeout", float, 300.0, "SECONDS", _STALL),
    ("--call-timeout", float, 0.0, "SECONDS", _CALL),
    ("--max-body", int, 0, "BYTES", _BODY),
    ("--max-calls", int, 0, "COUNT", _CALLS),
)


def limit_flags(command: str) -> Callable[[F], F]:
    """Adds the flags to a command, with its variables: `NETWORK` or `PROXY`."""

    def add(function: F) -> F:
        for name, kind, default, metavar, text in reversed(_FLAGS):
            variable = f"MICRO_{command}_{name[2:].replace('-', '_').upper()}"
            function = click.option(
                name, type=kind, default=default, show_default=True, envvar=variable, show_envvar=True,
                metavar=metavar, help=text,
            )(function)  # fmt: skip
        return function

    return add


def limit_values(flags: dict[str, Any]) -> dict[str, Any]:
    """Takes these flags out of all flags of a command, and makes of them what `NodeConfig` takes."""
    from sdk.port.limits import Limits

    return {
        "limits": Limits(
            idle=flags.pop("idle_timeout"),
            stall=flags.pop("stall_timeout"),
            call=flags.pop("call_timeout"),
            max_body=flags.pop("max_body"),
        ),
        "max_calls": flags.pop("max_calls"),
    }
