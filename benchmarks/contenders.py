"""The tunnels that are measured side by side: how each is configured and started, as two ends on loopback.

Each carries two ports of its near end to the two ports of a sink. Whatever can be encrypted is, and the near end
checks who the far end is. Keys and configurations are made for one run, in its folder.

The file is longer than others: six programs, each a configuration of its own.
"""

import contextlib
import datetime as dt
import getpass
import json
import secrets
import shutil
import socket
import subprocess
import sys
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from benchmarks.processes import ROOT, running

PATIENCE = 20.0
"""Seconds that a tunnel may take until it carries its first byte."""

MICRO = str(Path(sys.executable).with_name("micro"))
"""The command beside this Python."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where something listens on loopback: the sink, or the near end of a tunnel to it."""

    bulk: int
    echo: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a tunnel."""

    command: list[str]
    env: dict[str, str]


class Tunnel:
    """A tunnel that runs: its far end, and near ends as they are added. Gone when its `stack` closes."""

    def __init__(self, contender: "Contender", folder: Path, sink: Ports, stack: contextlib.ExitStack) -> None:
        self.contender = contender
        self.near: list[subprocess.Popen[bytes]] = []
        self.far: list[subprocess.Popen[bytes]] = []
        self._folder = folder
        self._sink = sink
        self._stack = stack
        self._log = folder / "log"
        self._link = free_port()
        end = contender.far(folder, self._link, sink)
        if end:
            self.far.append(stack.enter_context(running(end.command, self._log, end.env)))
            self._wait(self.far[0], self._link, echoes=False)
        self.ports = self.add_near()

    def add_near(self) -> Ports:
        """One more near end with its own link; returns where it listens, once it carries bytes."""
        ports = Ports(bulk=free_port(), echo=free_port()) if self.far else self._sink
        folder = self._folder / f"near-{len(self.near)}"
        folder.mkdir()
        end = self.contender.near(folder, self._link, ports, self._sink)
        if end:
            self.near.append(self._stack.enter_context(running(end.command, self._log, end.env)))
            self._wait(self.near[-1], ports.echo, echoes=True)
        return ports

    def _wait(self, process: subprocess.Popen[bytes], port: int, *, echoes: bool) -> None:
        """Until the process listens at `port`, and a byte sent there comes back."""
        pause = 0.05
        for _ in range(int(PATIENCE / pause)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(pause)
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
                if not echoes:
                    return
                sock.sendall(b".")
                if sock.recv(1):
                    return
        printed = self._log.read_text(errors="replace")[-2000:]
        raise OSError(f"{self.contender.name} did not start; it printed:\n{printed}")


class Contender(ABC):
    """One kind of tunnel."""

    name: str
    """What --only and the table call it."""
    program: str | None
    """What has to be installed."""
    link_carries_all: bool = False
    """Whether the streams of a near end share a link, so that memory per link means something."""

    def missing(self) -> str | None:
        """What is not installed; None when nothing is."""
        return self.program if self.program and not shutil.which(self.program, path=PATHS) else None

    @abstractmethod
    def far(self, folder: Path, link: int, sink: Ports) -> End | None:
        """The end beside the sink, listening at `link`."""

    @abstractmethod
    def near(self, folder: Path, link: int, ports: Ports, sink: Ports) -> End | None:
        """The end that listens at `ports`."""


PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
"""Servers live in folders that are not on everybody's PATH."""


def found(program: str) -> str:
    """Where a program is."""
    path = shutil.which(program, path=PATHS)
    assert path
    return path


class Direct(Contender):
    """No tunnel at all: the ceiling, and what the load itself costs."""

    name = "direct"
    program = None

    def far(self, folder: Path, link: int, sink: Ports) -> End | None:
        """Nothing is there."""
        return None

    def near(self, folder: Path, link: int, ports: Ports, sink: Ports) -> End | None:
        """Nothing is there."""
        return None


class Haproxy(Contender):
    """haproxy at both ends, layer 4, TLS between: a TLS connection for each stream."""

    name = "haproxy"
    program = "haproxy"

    def far(self, folder: Path, link: int, sink: Ports) -> End:
        """It tells the two apart by the server name."""
        certificate = make_certificate(folder)
        return self._end(
            folder,
            f"""
            frontend link
                bind 127.0.0.1:{link} ssl crt {certificate}
                use_backend bulk if {{ ssl_fc_sni bulk }}
                default_backend echo
            backend bulk
                server sink 127.0.0.1:{sink.bulk}
            backend echo
                server sink 127.0.0.1:{sink.echo}
            """,
        )

    def near(self, folder: Path, link: int, ports: Ports, sink: Ports) -> End:
        """Two listeners that differ in the server name they ask for."""
        tls = f"ssl verify required ca-file {folder.parent / 'certificate.pem'} verifyhost far"
        return self._end(
            folder,
            f"""
            listen bulk
                bind 127.0.0.1:{ports.bulk}
                server far 127.0.0.1:{link} {tls} sni str(bulk)
            listen echo
                bind 127.0.0.1:{ports.echo}
                server far 127.0.0.1:{link} {tls} sni str(echo)
            """,
        )

    def _end(self, folder: Path, sections: str) -> End:
        limits = "timeout connect 5s\ntimeout client 1h\ntimeout server 1h"
        config = folder / "haproxy.cfg"
        config.write_text(f"global\nmaxconn 5000\ndefaults\nmode tcp\n{limits}\n{sections}\n")
        return End(command=[found("haproxy"), "-db", "-f", str(config)], env={})


class V2ray(Contender):
    """VLESS over WebSocket over TLS with mux: the shape that is nearest to ours."""

    name = "v2ray"
    program = "v2ray"
    link_carries_all = True

    _user = str(uuid.uuid4())

    def far(self, folder: Path, link: int, sink: Ports) -> End:
        """What comes in goes where the near end says."""
        certificate = str(make_certificate(folder))
        inbound = {
            "listen": "127.0.0.1",
            "port": link,
            "protocol": "vless",
            "settings": {"clients": [{"id": self._user}], "decryption": "none"},
            "streamSettings": {
                "network": "ws",
                "wsSettings": {"path": "/link"},
                "security": "tls",
                "tlsSettings": {"certificates": [{"certificateFile": certificate, "keyFile": certificate}]},
            },
        }
        return self._end(folder, [inbound], {"protocol": "freedom"})

    def near(self, folder: Path, link: int, ports: Ports, sink: Ports) -> End:
        """Two doors that lead to the sink's two ports."""
        inbounds = [
            {
                "listen": "127.0.0.1",
                "port": port,
                "protocol": "dokodemo-door",
                "settings": {"address": "127.0.0.1", "port": to, "network": "tcp"},
            }
            for port, to in ((ports.bulk, sink.bulk), (ports.echo, sink.echo))
        ]
        user = {"id": self._user, "encryption": "none"}
        certificate = str(folder.parent / "certificate.pem")
        outbound: dict[str, object] = {
            "protocol": "vless",
            "settings": {"vnext": [{"address": "127.0.0.1", "port": link, "users": [user]}]},
            "streamSettings": {
                "network": "ws",
                "wsSettings": {"path": "/link"},
                "security": "tls",
                "tlsSettings": {
                    "serverName": "far",
                    "certificates": [{"usage": "verify", "certificateFile": certificate}],
                },
            },
            "mux": {"enabled": True, "concurrency": 1024},
        }
        return self._end(folder, inbounds, outbound)

    def _end(self, folder: Path, inbounds: list[dict[str, object]], outbound: dict[str, object]) -> End:
        config = folder / "v2ray.json"
        config.write_text(json.dumps({"log": {"loglevel": "warning"}, "inbounds": inbounds, "outbounds": [outbound]}))
        return End(command=[found("v2ray"), "-config", str(config)], env={})


class Stunnel(Contender):
    """stunnel at both ends: a TLS connection and a thread for each stream."""

    name = "stunnel"
    program = "stunnel4"

    def far(self, folder: Path, link: int, sink: Ports) -> End:
        """It tells the two apart by the server name."""
        certificate = make_certificate(folder)
        return self._end(
            folder,
            f"""
            [echo]
            accept = 127.0.0.1:{link}
            connect = 127.0.0.1:{sink.echo}
            cert = {certificate}
            [bulk]
            sni = echo:bulk
            connect = 127.0.0.1:{sink.bulk}
            cert = {certificate}
            """,
        )

    def near(self, folder: Path, link: int, ports: Ports, sink: Ports) -> End:
        """Two services that differ in the server name they ask for."""
        return self._end(
            folder,
            "".join(
                f"""
                [{name}]
                client = yes
                accept = 127.0.0.1:{port}
                connect = 127.0.0.1:{link}
                sni = {name}
                CAfile = {folder.parent / "certificate.pem"}
                verifyChain = yes
                checkHost = far
                """
                for name, port in (("bulk", ports.bulk), ("echo", ports.echo))
            ),
        )

    def _end(self, folder: Path, services: str) -> End:
        config = folder / "stunnel.conf"
        config.write_text(f"foreground = yes\npid =\nsyslog = no\ndebug = warning\n{services}")
        return End(command=[found("stunnel4"), str(config)], env={})


class Ssh(Contender):
    """ssh -L to an sshd of its own, with aes128-gcm: streams share one connection."""

    name = "ssh"
    program = "sshd"
    link_carries_all = True

    def missing(self) -> str | None:
        """Both ends come in packages of their own."""
        return super().missing() or (None if shutil.which("ssh", path=PATHS) else "ssh")

    def far(self, folder: Path, link: int, sink: Ports) -> End:
        """An sshd that knows one key."""
        host = make_ssh_key(folder / "host")
        make_ssh_key(folder / "user")
        (folder / "known").write_text(f"[127.0.0.1]:{link} {host}\n")
        config = folder / "sshd_config"
        config.write_text(
            f"""
            ListenAddress 127.0.0.1:{link}
            HostKey {folder / "host"}
            AuthorizedKeysFile {folder / "user.pub"}
            StrictModes no
            UsePAM no
            PidFile none
            """
        )
        # An sshd that is started by root insists on this folder, which Debian's service makes when it starts.
        with contextlib.suppress(PermissionError):
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        return End(command=[found("sshd"), "-D", "-e", "-f", str(config)], env={})

    def near(self, folder: Path, link: int, ports: Ports, sink: Ports) -> End:
        """A client that only forwards."""
        keys = folder.parent
        options = {
            "UserKnownHostsFile": keys / "known",
            "GlobalKnownHostsFile": "none",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ExitOnForwardFailure": "yes",
            "Ciphers": "aes128-gcm@openssh.com",
        }
        command = [found("ssh"), "-F", "none", "-N", "-p", str(link), "-i", str(keys / "user")]
        for key, value in options.items():
            command += ["-o", f"{key}={value}"]
        for port, to in ((ports.bulk, sink.bulk), (ports.echo, sink.echo)):
            command += ["-L", f"127.0.0.1:{port}:127.0.0.1:{to}"]
        return End(command=[*command, f"{getpass.getuser()}@127.0.0.1"], env={})


class Micro(Contender):
    """Ours, over one of its transports."""

    program = None
    link_carries_all = True

    def __init__(self, scheme: str) -> None:
        self.name = f"micro-{scheme}"
        self._scheme = scheme
        self._token = {"MICRO_TUNNEL_TOKEN": secrets.token_hex()}

    def missing(self) -> str | None:
        """A `micro` without `tunnel` is older than this benchmark."""
        known = subprocess.run([MICRO, "tunnel", "--help"], cwd=ROOT, capture_output=True, check=False)
        return "micro tunnel" if known.returncode else None

    def far(self, folder: Path, link: int, sink: Ports) -> End:
        """It exposes the sink's two ports under names."""
        exposed = ["--expose", f"bulk=127.0.0.1:{sink.bulk}", "--expose", f"echo=127.0.0.1:{sink.echo}"]
        return self._end("--address", f"127.0.0.1:{link}", *exposed)

    def near(self, folder: Path, link: int, ports: Ports, sink: Ports) -> End:
        """It forwards two ports to the names."""
        forward = ["--forward", f"{ports.bulk}:bulk", "--forward", f"{ports.echo}:echo"]
        return self._end("--server", f"{self._scheme}://127.0.0.1:{link}", *forward)

    def _end(self, *flags: str) -> End:
        common = ["--proxy-address", "127.0.0.1:0", "--registry", "memory"]
        return End(command=[MICRO, "tunnel", *common, *flags], env=self._token)


CONTENDERS: tuple[Contender, ...] = (
    Direct(),
    Haproxy(),
    V2ray(),
    Stunnel(),
    Ssh(),
    Micro("tcp"),
    Micro("ws"),
)


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def make_certificate(folder: Path) -> Path:
    """Writes a key and a certificate for `far`, which it signs itself, to one file; returns its path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "far")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName(each) for each in ("far", "bulk", "echo")]  # the latter are asked for as server names
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def make_ssh_key(path: Path) -> str:
    """Writes a key pair to `path` and `path`.pub; returns the public half as a line."""
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    path.with_suffix(".pub").write_text(f"{public}\n")
    return public
