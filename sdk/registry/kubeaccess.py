"""Where Kubernetes is and what it is shown: a pod's service account, or what `kubectl` uses.

Of `kubectl`'s file it knows authorities, certificates, tokens, and programs that make them (`exec`).
"""

import base64
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from sdk.errors import BadRequest, Unavailable
from sdk.netaddress import join_address

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
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """How the server is known and what certificate it is shown; None for a server without TLS."""
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

    `kubeconfig` is a path; without one it is that in KUBECONFIG, or `~/.kube/config`. Raises `BadRequest` where none of
    these can be used.
    """
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    if not kubeconfig and host and (account / "token").exists():
        return _of_pod(host, account)
    named = kubeconfig or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    path = Path(named).expanduser() if named else Path.home() / ".kube" / "config"
    try:
        return _of_file(path)
    except FileNotFoundError as error:
        raise BadRequest(
            f"--registry kubernetes (MICRO_REGISTRY) finds no cluster: this is no pod, and {error.filename} does not "
            "exist; name a file with --registry-address kubernetes://NAMESPACE?kubeconfig=FILE (MICRO_REGISTRY_ADDRESS)"
        ) from None
    except (OSError, KeyError, TypeError, ValueError) as error:  # the text of an error could show what is in the file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise BadRequest(f"{path} cannot be used to reach Kubernetes: {reason}; does kubectl work with it?") from None


def _of_pod(host: str, account: Path) -> Access:
    port = int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    try:
        return Access(
            server=f"https://{join_address(host, port)}",
            source="this pod",
            namespace=(account / "namespace").read_text().strip(),
            tls=ssl.create_default_context(cafile=account / "ca.crt"),
            token_file=account / "token",
        )
    except OSError as error:
        raise BadRequest(f"the service account of this pod in {account} cannot be used: {error.strerror}") from None


def _of_file(path: Path) -> Access:
    import yaml  # only whoever asks Kubernetes from outside a pod pays for it

    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError:
        raise BadRequest(f"{path} is no YAML, as kubectl writes it") from None
    context = _named(found["contexts"], found["current-context"])["context"]
    cluster = _named(found["clusters"], context["cluster"])["cluster"]
    user = _named(found["users"], context["user"])["user"] or {}
    for name, reason in _NOT_HERE.items():
        if user.get(name) or cluster.get(name):
            raise BadRequest(f"{path} says {name}: {reason}")
    token_file = user.get("tokenFile")
    tls = _tls(path.parent, cluster, user) if cluster["server"].startswith("https:") else None
    program = None
    if user.get("exec") and not token_file and not user.get("token"):  # which come first for kubectl, too
        command = parse_command(str(path), path.parent, user["exec"], _told(path.parent, cluster))
        program = CredentialProgram(command, tls)
    return Access(
        server=cluster["server"],
        source=str(path),
        namespace=context.get("namespace") or "default",
        tls=tls,
        server_name=cluster.get("tls-server-name") or "",
        token="" if token_file else user.get("token") or "",
        token_file=path.parent / token_file if token_file else None,
        program=program,
    )


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return {entry["name"]: entry for entry in entries}[name]


def _tls(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_content(folder, cluster, "certificate-authority") or None)
    certificate, key = _content(folder, user, "client-certificate"), _content(folder, user, "client-key")
    if certificate:
        show_certificate(context, certificate, key)
    return context


def _told(folder: Path, cluster: dict[str, Any]) -> dict[str, Any]:
    """What a program for credentials is told of the cluster (ExecCredential, `spec.cluster`)."""
    authority = _content(folder, cluster, "certificate-authority")
    own = {each["name"]: each.get("extension") for each in cluster.get("extensions") or ()}
    return {
        "server": cluster["server"],
        **({"tls-server-name": name} if (name := cluster.get("tls-server-name")) else {}),
        **({"certificate-authority-data": base64.b64encode(authority.encode()).decode()} if authority else {}),
        **({"config": config} if (config := own.get("client.authentication.k8s.io/exec")) else {}),
    }


def _content(folder: Path, said: dict[str, Any], name: str) -> str:
    """PEM: in the file itself, or in another one that it names."""
    if data := said.get(f"{name}-data"):
        return base64.b64decode(data).decode("ascii")
    return (folder / said[name]).read_text() if said.get(name) else ""
