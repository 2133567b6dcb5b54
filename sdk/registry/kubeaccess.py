"""Where Kubernetes is and what it is shown: a pod's service account, or what `kubectl` uses.

Of `kubectl`'s file it knows authorities, certificates, tokens, and programs that make them (`exec`).
"""

import base64
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from sdk.errors import BadRequest, Unavailable
from sdk.netaddress import join_address

from .certificates import Certificates
from .kubeconfig import Config, Part, read_config
from .kubecredential import Credential
from .kubeexec import CredentialProgram, parse_command, show_certificate

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds token, authority and namespace."""

_NOT_HERE: Final = {
    "insecure-skip-tls-verify": "a cluster that is not to be verified is not asked; give its certificate-authority",
    "proxy-url": "a cluster behind a proxy is not reached from here; name a server that is reached without",
    "auth-provider": "neither kubectl (since 1.26) nor this knows such any more; use exec",
    "username": "Kubernetes (since 1.19) knows users by tokens and certificates only; give one of these",
    "as": "nobody acts here in the name of another; give the credentials of an account that may read",
}
"""What is refused and not passed over, because without it something else would be asked, or somebody else would ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How the server of one cluster is asked."""

    server: str
    """Its URL."""
    source: str
    """Who says so, for a person: a file, or the account of a pod."""
    namespace: str
    """Where whoever asks belongs."""
    tls: Callable[[], ssl.SSLContext] | None = field(default=None, repr=False)
    """Gives how the server is known and what certificate it is shown; None for a server without TLS."""
    server_name: str = ""
    """What its certificate is for, where that is not the host of the URL."""
    token: str = field(default="", repr=False)
    """Shown to the server; empty: none, or the one in `token_file`."""
    token_file: Path | None = None
    """Read again for each request: Kubernetes replaces a pod's token every hour."""
    program: CredentialProgram | None = field(default=None, repr=False)
    """What makes the credentials, where it is neither of these."""

    async def credential(self) -> Credential:
        """What the server is shown now. Raises `Unavailable` where there is nothing to show."""
        if self.program is not None:
            return await self.program.credential()
        if self.token_file is None:
            return Credential(token=self.token)
        try:
            return Credential(token=(await trio.Path(self.token_file).read_text()).strip())
        except OSError as error:
            reason = error.strerror or "it cannot be read"
            raise Unavailable(f"the token for Kubernetes in {self.token_file} is missing: {reason}") from None

    async def renewed(self, refused: Credential) -> bool:
        """Whether there is something else to show than this, which was refused. Raises as `credential` does."""
        if self.program is not None:
            return await self.program.renewed(refused)
        return await self.credential() != refused


def find_access(kubeconfig: str = "", *, account: Path = ACCOUNT) -> Access:
    """The access that a file of `kubectl` describes, else that of the pod this runs in, else that of `kubectl` here.

    `kubeconfig` is a path; without one it is those in KUBECONFIG, or `~/.kube/config`. Raises `BadRequest` where none
    of these can be used.
    """
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    if not kubeconfig and host and (account / "token").exists():
        return _of_pod(host, account)
    named = [kubeconfig] if kubeconfig else os.environ.get("KUBECONFIG", "").split(os.pathsep)
    paths = [Path(name).expanduser() for name in named if name] or [Path.home() / ".kube" / "config"]
    where = ", ".join(map(str, paths))
    try:
        return _of_config(read_config(paths))
    except FileNotFoundError:
        raise BadRequest(
            f"--registry kubernetes (MICRO_REGISTRY) finds no cluster: this is no pod, and {where} does not exist; "
            "name a file with --registry-address kubernetes://NAMESPACE?kubeconfig=FILE (MICRO_REGISTRY_ADDRESS)"
        ) from None
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        # The text of an error could show what is in the file.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise BadRequest(f"{where} cannot be used to reach Kubernetes: {reason}; does kubectl work with it?") from None


def _of_pod(host: str, account: Path) -> Access:
    port, authority = int(os.environ.get("KUBERNETES_SERVICE_PORT", "443")), account / "ca.crt"
    try:
        return Access(
            server=f"https://{join_address(host, port)}",
            source="this pod",
            namespace=(account / "namespace").read_text().strip(),
            tls=Certificates(lambda: ssl.create_default_context(cafile=authority), [authority]),
            token_file=account / "token",
        )
    except OSError as error:
        raise BadRequest(f"the service account of this pod in {account} cannot be used: {error.strerror}") from None


def _of_config(config: Config) -> Access:
    cluster, user = config.cluster, config.user
    for name, reason in _NOT_HERE.items():
        for part in (cluster, user):
            if part.said.get(name):
                raise BadRequest(f"{part.path} says {name}: {reason}")
    token, token_file, program = user.said.get("token") or "", user.file("tokenFile"), None
    # What a program makes is put into the one context there is, so that one stays.
    named = (cluster.file("certificate-authority"), user.file("client-certificate"), user.file("client-key"))
    files = () if user.said.get("exec") else named
    tls = Certificates(lambda: _tls(cluster, user), files) if cluster.said["server"].startswith("https:") else None
    if user.said.get("exec") and not token_file and not token:  # which come first for kubectl, too
        command = parse_command(str(user.path), user.path.parent, user.said["exec"], _told(cluster))
        program = CredentialProgram(command, None if tls is None else tls())
    return Access(
        server=cluster.said["server"],
        source=str(user.path),
        namespace=config.namespace,
        tls=tls,
        server_name=cluster.said.get("tls-server-name") or "",
        token="" if token_file else token,
        token_file=token_file,
        program=program,
    )


def _tls(cluster: Part, user: Part) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=cluster.content("certificate-authority") or None)
    if certificate := user.content("client-certificate"):
        show_certificate(context, certificate, user.content("client-key"))
    return context


def _told(cluster: Part) -> dict[str, Any]:
    """What a program for credentials is told of the cluster (ExecCredential, `spec.cluster`)."""
    authority = cluster.content("certificate-authority")
    own = {each["name"]: each.get("extension") for each in cluster.said.get("extensions") or ()}
    return {
        "server": cluster.said["server"],
        **({"tls-server-name": name} if (name := cluster.said.get("tls-server-name")) else {}),
        **({"certificate-authority-data": base64.b64encode(authority.encode()).decode()} if authority else {}),
        **({"config": config} if (config := own.get("client.authentication.k8s.io/exec")) else {}),
    }
