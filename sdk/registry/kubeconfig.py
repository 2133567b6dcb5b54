"""The file of `kubectl`, or several put together: which cluster is meant, and who asks it.

Of several files, as KUBECONFIG may name them, the first that says something of a name is believed, and what it says of
other files is seen from where it is (Kubernetes documentation, "Organizing Cluster Access Using kubeconfig Files").
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdk.errors import BadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one file says of one cluster or user."""

    path: Path
    """The file."""
    said: dict[str, Any] = field(repr=False)
    """As it stands there; it may hold secrets."""

    def file(self, name: str) -> Path | None:
        """The file that it names under this name; None where it names none."""
        return self.path.parent / self.said[name] if self.said.get(name) else None

    def content(self, name: str) -> str:
        """PEM: as it stands there, or in the file that is named; empty where there is none."""
        if data := self.said.get(f"{name}-data"):
            return base64.b64decode(data).decode("ascii")
        file = self.file(name)
        if file is None:
            return ""
        try:
            return file.read_text()
        except OSError as error:
            raise BadRequest(
                f"{self.path} names {file} as its {name}, which cannot be read: {error.strerror}"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is meant where nothing else is said: the current context."""

    cluster: Part
    """Which cluster."""
    user: Part
    """Who asks it."""
    namespace: str
    """Where whoever asks belongs."""


def read_config(paths: Sequence[Path]) -> Config:
    """Reads these files; those that do not exist are passed over, as long as one does.

    Raises `FileNotFoundError` for the first where none does, `BadRequest` where one is no YAML or names what none has,
    and `OSError`, `KeyError`, `TypeError` or `ValueError` where they are not as `kubectl` writes them.
    """
    found = [(path, _load(path)) for path in paths if path.exists()]
    if not found:
        raise FileNotFoundError(paths[0])
    current = next((str(said["current-context"]) for _, said in found if said.get("current-context")), "")
    where = ", ".join(str(path) for path, _ in found)
    if not current:
        raise BadRequest(f"{where} has no current context: choose one with `kubectl config use-context`")

    def part(kind: str, name: str) -> Part:
        for path, said in found:
            for entry in said.get(f"{kind}s") or ():
                if entry["name"] == name:
                    return Part(path=path, said=entry[kind] or {})
        raise BadRequest(f"{where} names a {kind} that it does not have")

    context = part("context", current)
    user = context.said.get("user")
    return Config(
        cluster=part("cluster", context.said["cluster"]),
        user=part("user", user) if user else Part(path=context.path, said={}),
        namespace=context.said.get("namespace") or "default",
    )


def _load(path: Path) -> dict[str, Any]:
    import yaml  # only whoever asks Kubernetes from outside a pod pays for it

    try:
        said = yaml.safe_load(path.read_text())
    except yaml.YAMLError:
        raise BadRequest(f"{path} is no YAML, as kubectl writes it") from None
    if not isinstance(said, dict):
        raise BadRequest(f"{path} is no kubeconfig")
    return said
