"""nginx as the benchmark of proxies uses it: as a proxy, and as the back end that gives back what it is sent."""

from pathlib import Path

from benchmarks.calls import Ports
from benchmarks.contenders import End
from benchmarks.hops import Hop, Proxy, Role

CLAUSE = "keepalive 128; keepalive_requests 1000000000;"
"""How nginx keeps its connections to whom it calls."""


TEMPORARY = "".join(f"{each}_temp_path temporary;\n" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
"""nginx's own are root's."""

ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
"""What lets nginx give back what it is sent; Debian installs it with nginx-light."""


class Nginx(Proxy):
    """nginx with grpc_pass."""

    program = "nginx"

    def end(self, program: str, hop: Hop) -> End:
        """A server for each protocol."""
        serves, dials = "", {"proxy": "", "grpc": ""}
        if hop.role is Role.FAR:
            serves = f"ssl_certificate {hop.own}; ssl_certificate_key {hop.own};"
            serves += f" ssl_client_certificate {hop.other}; ssl_verify_client on;"
        if hop.role is Role.NEAR:
            for module in dials:
                dials[module] = (
                    f"{module}_ssl_certificate {hop.own}; {module}_ssl_certificate_key {hop.own};"
                    f" {module}_ssl_trusted_certificate {hop.other}; {module}_ssl_verify on;"
                    f" {module}_ssl_name far; {module}_ssl_server_name on;"
                )
        ssl = " ssl" if hop.role is Role.FAR else ""
        s = "s" if hop.role is Role.NEAR else ""
        return nginx(
            program,
            hop.folder,
            f"""
            upstream web {{ server 127.0.0.1:{hop.to.http}; {CLAUSE} }}
            upstream rpc {{ server 127.0.0.1:{hop.to.grpc}; {CLAUSE} }}
            {serves}
            server {{
                listen 127.0.0.1:{hop.listen.http}{ssl};
                location / {{
                    proxy_pass http{s}://web;
                    proxy_http_version 1.1;
                    proxy_set_header Connection "";
                    proxy_set_header Host $host;
                    {dials["proxy"]}
                }}
            }}
            server {{
                listen 127.0.0.1:{hop.listen.grpc} http2{ssl};
                location / {{ grpc_pass grpc{s}://rpc; {dials["grpc"]} }}
            }}
            """,
        )


def nginx(program: str, folder: Path, sections: str, modules: str = "") -> End:
    """nginx in the foreground, in one process."""
    config = folder / "nginx.conf"
    config.write_text(
        f"""
        {modules}
        daemon off;
        master_process off;
        pid {folder / "nginx.pid"};
        error_log stderr error;
        worker_rlimit_nofile 4096;
        events {{ worker_connections 4096; }}
        http {{
            access_log off;
            keepalive_requests 1000000000;
            {TEMPORARY}
            {sections}
        }}
        """
    )
    return End(command=[program, "-p", str(folder), "-c", str(config)], env={})


def backend(program: str, folder: Path, ports: Ports) -> End:
    """What answers at the end of each chain: nginx, which gives back the body it is sent."""
    echo = "echo_read_request_body; echo_request_body;"
    return nginx(
        program,
        folder,
        f"""
        server {{
            listen 127.0.0.1:{ports.http};
            default_type application/octet-stream;
            location / {{ {echo} }}
        }}
        server {{
            listen 127.0.0.1:{ports.grpc} http2;
            default_type application/grpc;
            location / {{ add_trailer grpc-status 0; {echo} }}
        }}
        """,
        f"load_module {ECHO};",
    )
