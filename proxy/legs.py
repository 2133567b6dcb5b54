"""What a call is in a node: a pair of legs, and the target that was chosen for it."""

import math
from collections.abc import Collection
from typing import NamedTuple, Protocol

from sdk.errors import BadRequest, Status, Unavailable
from sdk.head import CallHead, with_flags
from sdk.port import Port
from sdk.selector import Load
from sdk.wire import frame
from sdk.wire.frame import ID_SIZE, INITIAL_CREDIT, MAX_PAYLOAD

from .retry import Kept
from .speaks import RAW

SWEEP = 0.05
"""Seconds between looks for calls whose time is up. Callers keep their deadline exactly; this ends what they left."""

MAX_QUEUED = 4 << 20
"""Bytes that may wait on a port before it takes no new calls."""


class Target(NamedTuple):
    """Where a call goes from here."""

    port: Port
    path: bytes
    """Node ids from the port's peer to the origin; empty when the port leads to an instance."""
    load: Load | None
    """What is counted of whoever answers; None where there was nothing to choose."""
    head_flags: int | None = None
    """Flags of the call's head from here on, where they change."""


Failed = Collection[Load | Port]
"""Who did not answer a call, by what is counted of them, and the ports that did not carry it."""


class Chooser(Protocol):
    """Says where a call goes: `Egress` for calls that have arrived."""

    def choose(self, head: CallHead, now: float) -> Target:
        """Raises `MicroError` when there is nowhere."""

    def again(self, head: CallHead, now: float, failed: Failed) -> Target:
        """Likewise for a call that was not reached, but only to somebody else."""


class FirstChooser(Protocol):
    """Says where calls of programs go, and which way: `Ingress`."""

    def choose(self, head: CallHead, now: float, trusted: bool = False) -> Target:
        """`trusted` callers may also change the node. Raises `MicroError` when there is nowhere."""

    def again(self, head: CallHead, now: float, failed: Failed, trusted: bool = False) -> Target:
        """Likewise for a call that failed: to somebody else, or another way, while there is one."""

    def meant_by(self, host: str) -> str:
        """The service that the name of a host means, even where it cannot be reached at the moment; empty where there
        is none."""

    def spoken_by(self, service: str) -> Collection[str]:
        """What the instances of a service speak that can be called from here; none where it is not known."""

    def extend(self, head: CallHead, hops: int, now: float) -> Target:
        """Where a call goes on that was sent to this node as a default gateway, over so many more links at most.

        Raises `MicroError` when there is nowhere.
        """

    def failed_edge(self, edge: bytes, now: float) -> None:
        """A link of a path that was chosen could not be passed: two node ids, in the order of the path."""


class Leg:
    """One direction of a call: where the frames of one stream of one port go."""

    __slots__ = (
        "back", "call", "calling", "came", "deadline", "ended", "interim", "kept", "load", "opened", "path", "port",
        "settled", "status", "stopped", "stream", "tries", "window",
    )  # fmt: skip

    back: "Leg"
    """The other direction."""
    path: bytes
    """The path that was chosen here; there only where `load` is, on the calling leg."""
    came: float
    """When the call came; there only where `call` is."""
    tries: int
    """How often it was sent; likewise."""
    interim: int
    """How many INTERIM came to go this way, of all tries; there only after the first."""

    def __init__(self, port: Port, stream: int, calling: bool) -> None:
        self.port = port
        """Where they go."""
        self.stream = stream
        """The stream's number there."""
        self.calling = calling
        """Whether this direction leads away from the caller."""
        self.window = INITIAL_CREDIT
        """Body bytes that may still go this way."""
        self.settled = calling
        """Body bytes pass without a further look: the answer has begun, or the request is not kept for another try."""
        self.ended = False
        """END went this way."""
        self.stopped = False
        """STOP went this way."""
        self.deadline = math.inf
        """When the call is over whatever happens; kept on the calling leg."""
        self.opened = -math.inf
        """When the call was sent to where it is now; kept on the calling leg."""
        self.load: Load | None = None
        """What is counted of the callee; kept on the calling leg."""
        self.call: CallHead | None = None
        """What the call is, on the calling leg of the node where it was opened."""
        self.status = Status.OK.value
        """How it ended, likewise: a gRPC status."""
        self.kept: bytes | Kept | None = None
        """What another try needs, on the calling leg, until the answer begins: of most calls the OPEN is all."""


def leads_over(path: bytes, edge: bytes) -> bool:
    """Whether a path leads over a link in this direction. Its first link is not looked at: that one is known here."""
    return any(path[at : at + len(edge)] == edge for at in range(0, len(path) - ID_SIZE, ID_SIZE))


def ends(call: CallHead, target: Target) -> bool:
    """Whether a call is one of those that a time can be set for. Raw connections and upgrades last as long as they do,
    and what the node itself answers (it counts no load of its own) may be a watch."""
    return (
        call.protocol != RAW
        and ":upgrade" not in call.metadata[::2]
        and (target.load is not None or target.path != b"")
    )


def too_much_waits(port: Port) -> Unavailable:
    """Why a port with more than `MAX_QUEUED` takes no new calls."""
    return Unavailable(f"{port.name} has more than {MAX_QUEUED >> 20} MiB waiting")


def for_target(opened: bytes, target: Target) -> bytes:
    """An OPEN's payload as this target gets it, but for its path. Raises `BadRequest` where it does not fit."""
    if target.head_flags is None:
        return opened
    _, _, path_end, head_end = frame.open_layout_untrusted(opened)
    head = with_flags(opened[path_end + 6 : head_end], target.head_flags)
    changed = b"".join((opened[: path_end + 4], len(head).to_bytes(2, "big"), head, opened[head_end:]))
    if len(changed) - (path_end - 2) + len(target.path) > MAX_PAYLOAD:
        # Only a node that broke the limit of the first one sends such a call; the next one would blame this one.
        raise BadRequest("the call's head and first body bytes leave no room for a longer path")
    return changed
