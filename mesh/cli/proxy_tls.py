"""The flags of the certificate that a proxy port shows, which several commands have.

Links have their own (links.py): those say who a node is to other nodes, and may demand a certificate in return.
"""

from typing import Any

import click


def proxy_tls_options(command: Any) -> Any:
    """Adds `--proxy-tls-cert` and `--proxy-tls-key`; `proxy_tls_values` reads them."""
    command = click.option(
        "--proxy-tls-key", envvar="MICRO_PROXY_TLS_KEY", show_envvar=True, default="", metavar="PATH",
        help="Its private key, where it does not stand in the same file.",
    )(command)  # fmt: skip
    return click.option(
        "--proxy-tls-cert", envvar="MICRO_PROXY_TLS_CERT", show_envvar=True, default="", metavar="PATH",
        help="Certificate that programs are shown. With it the proxy port speaks TLS to whoever names one of its "
        "names, or none, beside all else that it speaks; TLS for any other name goes to the service of that name.",
    )(command)  # fmt: skip


def proxy_tls_values(flags: dict[str, Any]) -> dict[str, Any]:
    """Takes these flags out of all flags of a command and makes of them what `NodeConfig` takes; raises `BadRequest`
    naming the flag of what cannot be used."""
    from proxy.termination import ProxyTlsConfig

    return {"proxy_tls": ProxyTlsConfig(cert=flags.pop("proxy_tls_cert"), key=flags.pop("proxy_tls_key"))}
