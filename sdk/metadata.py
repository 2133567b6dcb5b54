"""Metadata: what goes along with a call, and what of it goes further.

Inside a handler `current()` is what its caller sent. Calls that the handler makes carry on what belongs to the whole
chain of calls: `traceparent`, `tracestate` and `baggage` (W3C Trace Context, W3C Baggage), and names that begin with
`micro-`, as go-micro has it. Not carried on are those of them that say where one call may go or what it is, such as
`micro-router` or `micro-service`: the next call goes to another service. Nor is anything else, `authorization` least of
all: whoever was shown a secret does not show it around.

It is kept in a context variable, so it reaches tasks that the handler starts, and no other call.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

from .head import Metadata, metadata_to_dict, metadata_to_pairs

TRACE: Final = frozenset({"traceparent", "tracestate", "baggage"})
"""Names that are carried on although they do not begin with `micro-`."""

OF_ONE_CALL: Final = frozenset(
    {
        # Pins: where it may go.
        "micro-router",
        "micro-network",
        "micro-gateway",
        "micro-version",
        # What it is, as ports and go-micro say it.
        "micro-service",
        "micro-endpoint",
        "micro-method",
        "micro-id",
        "micro-stream",
        "micro-error",
        "micro-fate",
    }
)
"""Names that begin with `micro-` and are not carried on; those that begin with `micro-label-` are pins as well."""


class CallMetadata(Mapping[str, str]):
    """Names in whatever case, and values; of a name that was sent more than once the last."""

    __slots__ = ("_values",)

    def __init__(self, metadata: Metadata = ()) -> None:
        self._values = metadata_to_dict(metadata)

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __repr__(self) -> str:
        return f"<metadata {', '.join(self._values)}>"  # values may be secrets


class Around(NamedTuple):
    """What the calls of a task are made within."""

    received: Metadata
    """What the caller of the handler sent."""
    sent: Metadata
    """What goes with each call."""


around: ContextVar[Around | None] = ContextVar("around", default=None)
"""None outside of handlers and `sending`: most clients pay for one look at it."""


def current() -> CallMetadata:
    """What the caller of this handler sent along; empty outside of a handler."""
    found = around.get()
    return CallMetadata(found.received if found else ())


@contextmanager
def sending(metadata: Mapping[str, str]) -> Iterator[None]:
    """Sends this along with each call that is made inside the block, in tasks started there as well.

    It takes precedence over what is carried on, and over what the client sends with all its calls; what a call is given
    itself takes precedence over this. Raises `TypeError` for what is no text.
    """
    found = around.get() or Around((), ())
    token = around.set(found._replace(sent=merged(found.sent, pairs_of(metadata))))
    try:
        yield
    finally:
        around.reset(token)


def received(metadata: Metadata) -> Around:
    """What a handler whose caller sent this works within."""
    if not metadata:
        return _NOTHING
    pairs = zip(metadata[::2], metadata[1::2], strict=True)
    return Around(metadata, tuple(part for name, value in pairs if _goes_on(name) for part in (name, value)))


def merged(base: Metadata, over: Metadata) -> Metadata:
    """Both; a name that stands in `over` has its values from there alone."""
    if not base:
        return over
    names = over[::2]
    pairs = zip(base[::2], base[1::2], strict=True)
    return tuple(part for name, value in pairs if name not in names for part in (name, value)) + over


def pairs_of(metadata: Mapping[str, str]) -> Metadata:
    """The metadata as a call carries it. Raises `TypeError` for what is no text: the other end could not read it."""
    if not isinstance(metadata, Mapping):
        raise TypeError(f'metadata is text by names, such as {{"x-team": "blue"}}, not {type(metadata).__name__}')
    for name, value in metadata.items():
        said: tuple[object, ...] = (name, value)
        if not all(isinstance(text, str) for text in said):
            raise TypeError(f"metadata is text, but {name!r} has a {type(value).__name__}")
    return metadata_to_pairs(metadata)


def _goes_on(name: str) -> bool:
    if name in TRACE:
        return True
    return name.startswith("micro-") and name not in OF_ONE_CALL and not name.startswith("micro-label-")


_NOTHING = Around((), ())
