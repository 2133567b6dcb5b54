"""The flags that say how links are dialled and accepted, for every command that runs a node."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def link_flags(function: F) -> F:
    """Adds the flags to a command; their values go through `link_values`."""
    for name, variable, metavar, text in reversed(_FLAGS):
        option = click.option(name, envvar=variable, show_envvar=True, default="", metavar=metavar, help=text)
        function = option(function)
    return function


def link_values(flags: dict[str, Any]) -> dict[str, Any]:
    """Takes these flags out of all flags of a command and makes of them what `NodeConfig` takes; raises `BadRequest`
    naming the flag of what cannot be used."""
    from tunnel.transport.proxies import choose_proxies
    from tunnel.transport.tls import TlsConfig

    return {
        "tls": TlsConfig(**{file: flags.pop(f"tls_{file}") for file in ("ca", "cert", "key")}),
        "proxies": choose_proxies(flags.pop("via"), os.environ),
    }


_CERT = (
    "Certificate that this node shows. With it the link port accepts TLS beside plain links, and with --tls-ca TLS "
    "only from who has a certificate of that CA."
)
_VIA = (
    "HTTP proxy that links are dialled through: http://host:port, or with a password, for which the variable is the "
    "better place, http://user:password@host:port. Without it HTTPS_PROXY and NO_PROXY count."
)
_FLAGS = (
    ("--tls-ca", "MICRO_TLS_CA", "PATH", "File of the CAs to believe, in place of the system's."),
    ("--tls-cert", "MICRO_TLS_CERT", "PATH", _CERT),
    ("--tls-key", "MICRO_TLS_KEY", "PATH", "Its private key, where it does not stand in the same file."),
    ("--via", "MICRO_VIA", "URL", _VIA),
)
