"""Channels of grpcio, blocking or on asyncio, whose calls go through a node to a service of the network."""

import base64
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

import grpc

from sdk.arguments import check, text
from sdk.config import ClientConfig
from sdk.errors import BadRequest, Unavailable
from sdk.netaddress import join_address, split_address
from sdk.options import is_addresses, split_addresses

from .naming import Naming, aio_interceptors

Options = Sequence[tuple[str, Any]]

_WANTED = {"service": text("greeter"), "proxy": text("localhost:8081")}


def insecure_channel(service: str, *, proxy: str = "", options: Options = ()) -> grpc.Channel:
    """A `grpc.Channel` whose calls all reach this service, whatever package its methods are in.

    `proxy` is the node to call through, as `host:port`, or several with commas between, which take calls in turn;
    MICRO_PROXY where it is not given. The token of MICRO_PROXY_TOKEN is shown to them. Names of hosts are looked up
    once, where there are several. Options are grpcio's. Between this program and the node nothing is encrypted, as the
    name says: they are on one host, or in one private network.

    Raises `BadRequest` for no node, or one named as in a registry; `Unavailable` for a host that cannot be found.
    """
    check("insecure_channel", _WANTED, {"service": service, "proxy": proxy})
    config = ClientConfig.from_environment(os.environ)
    channel = grpc.insecure_channel(*_target_and_options(proxy or config.proxy, options))
    return grpc.intercept_channel(channel, Naming(_fields(service, config)))


def aio_channel(service: str, *, proxy: str = "", options: Options = ()) -> grpc.aio.Channel:
    """Likewise a `grpc.aio.Channel`, for programs on asyncio."""
    check("aio_channel", _WANTED, {"service": service, "proxy": proxy})
    config = ClientConfig.from_environment(os.environ)
    target, all_options = _target_and_options(proxy or config.proxy, options)
    return grpc.aio.insecure_channel(target, all_options, interceptors=aio_interceptors(_fields(service, config)))


def _fields(service: str, config: ClientConfig) -> tuple[tuple[str, str], ...]:
    fields: tuple[tuple[str, str], ...] = (("micro-service", service),)
    if config.proxy_token:
        shown = base64.b64encode(b"micro:" + config.proxy_token.encode(errors="surrogateescape")).decode()
        fields += (("proxy-authorization", f"Basic {shown}"),)
    return fields


def _target_and_options(proxy: str, options: Options) -> tuple[str, list[tuple[str, Any]]]:
    if not is_addresses(proxy):
        what = f"{proxy!r} is a name in a registry" if proxy else "no node is named"
        raise BadRequest(f"{what}: give proxy, or MICRO_PROXY, as host:port, or several with commas between")
    addresses = split_addresses(proxy)
    # Whatever proxy this host has for the web, a node is no web site.
    defaults: dict[str, Any] = {"grpc.enable_http_proxy": 0}
    if len(addresses) == 1:
        target = f"dns:///{addresses[0]}"
    else:
        target = _several(addresses)
        defaults["grpc.service_config"] = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
    return target, list({**defaults, **dict(options)}.items())


def _several(addresses: list[str]) -> str:
    """The target of several nodes: gRPC takes addresses of one family there, and no names."""
    found: dict[int, list[str]] = {}
    for address in addresses:
        host, port = split_address(address)
        try:
            first = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"the node {address} (proxy, MICRO_PROXY) cannot be found: {error}") from None
        found.setdefault(first[0], []).append(join_address(str(first[4][0]), port))
    if len(found) > 1:
        raise BadRequest(f"{', '.join(addresses)}: gRPC calls several nodes by IPv4 or by IPv6, not by both at once")
    [(family, several)] = found.items()
    return f"{'ipv6' if family == socket.AF_INET6 else 'ipv4'}:{','.join(several)}"
