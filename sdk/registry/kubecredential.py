"""What a cluster is shown, and how programs that make it are asked: `ExecCredential` of client.authentication.k8s.io.

Source: Kubernetes documentation, "client-go credential plugins" and the reference of client.authentication.k8s.io/v1;
v1beta1 is the same for whoever asks.

Nothing here does I/O.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sdk.errors import RemoteProtocolError

from .records import parse_json_untrusted

VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
"""Of the interface to such programs; what came before, v1alpha1, is gone from kubectl as well (1.24)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a cluster is shown. All fields are secrets or may be empty: then it is shown nothing."""

    token: str = field(default="", repr=False)
    """A bearer token."""
    certificate: str = field(default="", repr=False)
    """PEM."""
    key: str = field(default="", repr=False)
    """PEM, of the certificate."""
    expires: datetime | None = None
    """With a zone; None: not before it is refused."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What goes with a request."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


def exec_info(version: str, cluster: Mapping[str, Any] | None) -> str:
    """What a program finds in KUBERNETES_EXEC_INFO; `cluster` is that of the kubeconfig, where it is to be told."""
    spec = {"interactive": False, **({"cluster": cluster} if cluster is not None else {})}
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": spec})


def parse_credential_untrusted(data: bytes, version: str) -> Credential:
    """Reads what a program printed. Raises `RemoteProtocolError`, which repeats nothing of it, and nothing else."""
    found = parse_json_untrusted(data)
    if not isinstance(found, dict) or found.get("kind") != "ExecCredential":
        raise RemoteProtocolError("it is no ExecCredential")
    if found.get("apiVersion") != version:
        raise RemoteProtocolError(f"it is not of {version}")
    status = found.get("status")
    if not isinstance(status, dict):
        raise RemoteProtocolError("it has no status")
    token, certificate, key = (_text(status, name) for name in ("token", "clientCertificateData", "clientKeyData"))
    if bool(certificate) is not bool(key):
        raise RemoteProtocolError("of clientCertificateData and clientKeyData it has one without the other")
    if not token and not certificate:
        raise RemoteProtocolError("it has neither a token nor a certificate")
    if not token.isascii() or not token.isprintable():
        raise RemoteProtocolError("its token is no token")
    return Credential(
        token=token, certificate=certificate, key=key, expires=_time(_text(status, "expirationTimestamp"))
    )


def _text(status: Mapping[str, Any], name: str) -> str:
    value = status.get(name) or ""
    if not isinstance(value, str):
        raise RemoteProtocolError(f"its {name} is not text")
    return value


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise RemoteProtocolError("its expirationTimestamp is no time as RFC 3339 has it")
