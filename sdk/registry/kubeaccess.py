"""Where Kubernetes is and what it is shown: a pod's service account, or what `kubectl` uses."""

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from sdk.errors import BadRequest, Unavailable
from sdk.netaddress import join_address

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds token, authority and namespace."""


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
    token: str = field(default="", repr=False)
    """Shown to the server; empty: none, or the one in `token_file`."""
    token_file: Path | None = None
    """Read again for each request: Kubernetes replaces a pod's token every hour."""

    async def headers(self) -> dict[str, str]:
        """What goes with a request. Raises `Unavailable` where the token cannot be read."""
        token = self.token
        if self.token_file is not None:
            try:
                token = (await trio.Path(self.token_file).read_text()).strip()
            except OSError as error:
                reason = error.strerror or "it cannot be read"
                raise Unavailable(f"the token for Kubernetes in {self.token_file} is missing: {reason}") from None
        return {"authorization": f"Bearer {token}"} if token else {}


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
    if "exec" in user or "auth-provider" in user:
        raise BadRequest(
            f"{path} has a program make the credentials, which is not done here: give a file with a token or a "
            "certificate, such as one for a service account"
        )
    token_file = user.get("tokenFile")
    return Access(
        server=cluster["server"],
        source=str(path),
        namespace=context.get("namespace") or "default",
        tls=_tls(path.parent, cluster, user) if cluster["server"].startswith("https:") else None,
        token="" if token_file else user.get("token") or "",
        token_file=path.parent / token_file if token_file else None,
    )


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return {entry["name"]: entry for entry in entries}[name]


def _tls(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    if cluster.get("insecure-skip-tls-verify"):
        raise BadRequest("a cluster that is not to be verified is not asked: give its certificate-authority")
    context = ssl.create_default_context(cadata=_content(folder, cluster, "certificate-authority") or None)
    certificate, key = _content(folder, user, "client-certificate"), _content(folder, user, "client-key")
    if certificate:
        # OpenSSL reads keys from files only; this one is its owner's alone and gone at once.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(f"{certificate}\n{key}")
            file.flush()
            context.load_cert_chain(file.name, password="")  # none, so that nobody is asked at the terminal
    return context


def _content(folder: Path, said: dict[str, Any], name: str) -> str:
    """PEM: in the file itself, or in another one that it names."""
    if data := said.get(f"{name}-data"):
        return base64.b64decode(data).decode("ascii")
    return (folder / said[name]).read_text() if said.get(name) else ""
