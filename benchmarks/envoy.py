"""envoy as the benchmark of proxies uses it."""

import json
from typing import Any

from benchmarks.contenders import End
from benchmarks.hops import Hop, Proxy, Role

ENVOY = "type.googleapis.com/envoy.extensions"
ENVOY_HTTP = f"{ENVOY}.filters.network"
ENVOY_TLS = f"{ENVOY}.transport_sockets.tls.v3"


class Envoy(Proxy):
    """envoy, layer 7."""

    program = "envoy"

    def end(self, program: str, hop: Hop) -> End:
        """A listener and a cluster for each protocol; HTTP/2 between, for both."""
        tls: dict[str, Any] = {
            "common_tls_context": {
                "tls_certificates": [
                    {"certificate_chain": {"filename": str(hop.own)}, "private_key": {"filename": str(hop.own)}}
                ],
                "validation_context": {"trusted_ca": {"filename": str(hop.other)}},
                "alpn_protocols": ["h2"],
            }
        }
        kinds = {"web": (hop.listen.http, hop.to.http), "rpc": (hop.listen.grpc, hop.to.grpc)}
        bootstrap = {
            "static_resources": {
                "listeners": [self._listener(hop.role, name, port, tls) for name, (port, _) in kinds.items()],
                "clusters": [self._cluster(hop.role, name, to, tls) for name, (_, to) in kinds.items()],
            }
        }
        config = hop.folder / "envoy.json"
        config.write_text(json.dumps(bootstrap))
        flags = ["--concurrency", "1", "--log-level", "warn", "--disable-hot-restart"]
        return End(command=[program, "-c", str(config), *flags], env={})

    def _listener(self, role: Role, name: str, port: int, tls: dict[str, Any]) -> dict[str, Any]:
        chain: dict[str, Any] = {
            "filters": [
                {
                    "name": "http",
                    "typed_config": {
                        "@type": f"{ENVOY_HTTP}.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": name,
                        "route_config": {
                            "virtual_hosts": [
                                {
                                    "name": name,
                                    "domains": ["*"],
                                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}],
                                }
                            ]
                        },
                        "http_filters": [
                            {"name": "router", "typed_config": {"@type": f"{ENVOY}.filters.http.router.v3.Router"}}
                        ],
                    },
                }
            ]
        }
        if role is Role.FAR:
            demands = {"@type": f"{ENVOY_TLS}.DownstreamTlsContext", **tls, "require_client_certificate": True}
            chain["transport_socket"] = {"name": "tls", "typed_config": demands}
        return {"name": name, "address": loopback(port), "filter_chains": [chain]}

    def _cluster(self, role: Role, name: str, to: int, tls: dict[str, Any]) -> dict[str, Any]:
        cluster: dict[str, Any] = {
            "name": name,
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": loopback(to)}}]}],
            },
        }
        if name == "rpc" or role is Role.NEAR:
            kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
            cluster["typed_extension_protocol_options"] = {
                kind: {"@type": f"type.googleapis.com/{kind}", "explicit_http_config": {"http2_protocol_options": {}}}
            }
        if role is Role.NEAR:
            asks = {"@type": f"{ENVOY_TLS}.UpstreamTlsContext", **tls, "sni": "far"}
            cluster["transport_socket"] = {"name": "tls", "typed_config": asks}
        return cluster


def loopback(port: int) -> dict[str, Any]:
    """An address, as envoy writes it."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
