"""The proxies that are measured side by side: how each is configured, alone or as one of a pair.

Each has one worker where that can be said (nginx, haproxy, envoy); those in Go use what cores there are, as they do
when nobody says otherwise. Nobody writes a log of calls. Between a pair they speak HTTP/2 where they can, as nodes of a
mesh would, so that calls share connections; nginx does so for gRPC only, and each call in flight has its connection.
"""

import json
from typing import Any

from benchmarks.contenders import End
from benchmarks.envoy import Envoy
from benchmarks.hops import Contender, Direct, Hop, Proxies, Proxy, Role
from benchmarks.nginx import Nginx


class Haproxy(Proxy):
    """haproxy, layer 7."""

    program = "haproxy"

    def end(self, program: str, hop: Hop) -> End:
        """A frontend and a backend for each protocol; HTTP/2 between, for both."""
        serves, dials = "", ""
        if hop.role is Role.FAR:
            serves = f"ssl crt {hop.own} verify required ca-file {hop.other} alpn h2"
        if hop.role is Role.NEAR:
            dials = f"ssl crt {hop.own} verify required ca-file {hop.other} verifyhost far sni str(far) alpn h2"
        plain_web = "proto h2" if hop.role is Role.NEAR else ""
        config = hop.folder / "haproxy.cfg"
        config.write_text(
            f"""
            global
                nbthread 1
                maxconn 2000
            defaults
                mode http
                http-reuse always
                timeout connect 5s
                timeout client 1h
                timeout server 1h
            listen web
                bind 127.0.0.1:{hop.listen.http} {serves}
                server next 127.0.0.1:{hop.to.http} {dials} {plain_web}
            listen rpc
                bind 127.0.0.1:{hop.listen.grpc} {serves or "proto h2"}
                server next 127.0.0.1:{hop.to.grpc} {dials} proto h2
            """
            "\n"  # it counts the spaces above as a last line that was cut off
        )
        return End(command=[program, "-db", "-f", str(config)], env={})


class Traefik(Proxy):
    """traefik with a file for its routes."""

    program = "traefik"

    def end(self, program: str, hop: Hop) -> End:
        """An entry point for each protocol, and a service behind it."""
        routers: dict[str, dict[str, Any]] = {}
        services: dict[str, Any] = {}
        near = hop.role is Role.NEAR
        for name, scheme, to in (("web", "http", hop.to.http), ("rpc", "h2c", hop.to.grpc)):
            routers[name] = {"entryPoints": [name], "rule": "PathPrefix(`/`)", "service": name}
            if hop.role is Role.FAR:
                routers[name]["tls"] = {}
            balancer: dict[str, Any] = {"servers": [{"url": f"{'https' if near else scheme}://127.0.0.1:{to}"}]}
            if near:
                balancer["serversTransport"] = "link"
            services[name] = {"loadBalancer": balancer}
        dynamic: dict[str, Any] = {"http": {"routers": routers, "services": services}}
        pair = [{"certFile": str(hop.own), "keyFile": str(hop.own)}]
        if near:
            transport = {"serverName": "far", "rootCAs": [str(hop.other)], "certificates": pair}
            dynamic["http"] = {"routers": routers, "services": services, "serversTransports": {"link": transport}}
        if hop.role is Role.FAR:
            demands = {"caFiles": [str(hop.other)], "clientAuthType": "RequireAndVerifyClientCert"}
            dynamic["tls"] = {"certificates": pair, "options": {"default": {"clientAuth": demands}}}
        routes = hop.folder / "routes.json"
        routes.write_text(json.dumps(dynamic))
        flags = [
            f"--entryPoints.web.address=127.0.0.1:{hop.listen.http}",
            f"--entryPoints.rpc.address=127.0.0.1:{hop.listen.grpc}",
            f"--providers.file.filename={routes}",
            "--providers.file.watch=false",
            "--global.checkNewVersion=false",
            "--global.sendAnonymousUsage=false",
        ]
        return End(command=[program, *flags], env={})


class Caddy(Proxy):
    """caddy with its own JSON: the shorter Caddyfile lets it choose certificates by itself for sites without a name."""

    program = "caddy"

    def end(self, program: str, hop: Hop) -> End:
        """A server for each protocol."""
        kinds = {"web": (hop.listen.http, hop.to.http, "1.1"), "rpc": (hop.listen.grpc, hop.to.grpc, "h2c")}
        apps: dict[str, Any] = {
            "http": {"servers": {name: self._server(hop, *each) for name, each in kinds.items()}},
            # Without these two words it may put a root certificate of its own into the store of this whole machine.
            "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
        }
        if hop.role is Role.FAR:
            apps["tls"] = {"certificates": {"load_files": [{"certificate": str(hop.own), "key": str(hop.own)}]}}
        config = hop.folder / "caddy.json"
        admin = {"disabled": True, "config": {"persist": False}}
        config.write_text(json.dumps({"admin": admin, "apps": apps}))
        home = {"HOME": str(hop.folder), "XDG_DATA_HOME": str(hop.folder), "XDG_CONFIG_HOME": str(hop.folder)}
        return End(command=[program, "run", "--config", str(config)], env=home)

    def _server(self, hop: Hop, listen: int, to: int, version: str) -> dict[str, Any]:
        def believed() -> dict[str, Any]:
            return {"provider": "file", "pem_files": [str(hop.other)]}

        transport: dict[str, Any] = {"protocol": "http", "versions": [version]}
        if hop.role is Role.NEAR:
            shown = {"client_certificate_file": str(hop.own), "client_certificate_key_file": str(hop.own)}
            tls = {"server_name": "far", "ca": believed(), **shown}
            transport = {"protocol": "http", "versions": ["2"], "tls": tls}
        dial = {"handler": "reverse_proxy", "transport": transport, "upstreams": [{"dial": f"127.0.0.1:{to}"}]}
        server: dict[str, Any] = {
            "listen": [f"127.0.0.1:{listen}"],
            "protocols": ["h1", "h2", "h2c"],
            "automatic_https": {"disable": True},
            "routes": [{"handle": [dial]}],
        }
        if hop.role is Role.FAR:
            demands = {"mode": "require_and_verify", "ca": believed()}
            server["tls_connection_policies"] = [{"client_authentication": demands}]
            server["strict_sni_host"] = False  # the callers' Host is another name than the link's
        return server


PROXIES: tuple[Proxy, ...] = (Nginx(), Haproxy(), Envoy(), Traefik(), Caddy())


def contenders(paths: str) -> list[Contender]:
    """The back end itself, and each proxy of others alone and as a pair, looked for in the folders of `paths`."""
    found: list[Contender] = [Direct()]
    for roles in ((Role.ALONE,), (Role.NEAR, Role.FAR)):
        found += [Proxies(proxy, roles, paths) for proxy in PROXIES]
    return found
