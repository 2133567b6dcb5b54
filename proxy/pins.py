"""What a call says of where it may go: metadata that begins with `micro-`."""

from typing import Final, NamedTuple

from sdk.head import Metadata

ROUTER: Final = "micro-router"
NETWORK: Final = "micro-network"
GATEWAY: Final = "micro-gateway"
VERSION: Final = "micro-version"
LABEL: Final = "micro-label-"

Labels = tuple[tuple[str, str], ...]
"""Names, in lower case, and values."""


class Pins(NamedTuple):
    """Where a call may go. What is empty pins nothing."""

    router: str = ""
    """The only node that may answer, by id or name."""
    network: str = ""
    """The network whose nodes may answer, by name."""
    gateway: str = ""
    """The node that takes the call when nobody offers the service, by id or name: in place of `--gateway`."""
    version: str = ""
    """The version of the service that may answer."""
    labels: Labels = ()
    """What must be among the service's metadata."""

    @property
    def kind(self) -> str:
        """Which of those who offer the service may answer, for people; empty where all of them may."""
        said = [f"version {self.version!r}"] if self.version else []
        said += [f"label {name}={value}" for name, value in self.labels]
        return " and ".join(said)


NONE: Final = Pins()
"""The pins of most calls."""


def pins_of(metadata: Metadata) -> Pins | None:
    """The pins in a call's metadata, None where there are none. Of a name that repeats the first value counts, but all
    labels do."""
    for key in metadata[::2]:
        if key[:6] == "micro-":
            return _pins_of(metadata)
    return None


def _pins_of(metadata: Metadata) -> Pins | None:
    found: dict[str, str] = {}
    labels = []
    for at in range(0, len(metadata), 2):
        key, value = metadata[at], metadata[at + 1]
        if key.startswith(LABEL):
            labels.append((key[len(LABEL) :], value))
        elif key in (ROUTER, NETWORK, GATEWAY, VERSION) and value:
            found.setdefault(key.removeprefix("micro-"), value)
    pins = Pins(**found, labels=tuple(labels))
    return pins if pins != NONE else None
