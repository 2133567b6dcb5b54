"""What a call may be told besides its request, once for all calls of a client or for one of them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypedDict

from .arguments import COUNT, FLAG, FUNCTION, TEXTS, Wanted, check, optional, text
from .directory import Filter, Targets
from .errors import BadRequest
from .head import Metadata
from .metadata import merged, pairs_of
from .netaddress import split_address
from .strategy import Strategy, balanced

GRPC = "grpc://"
"""What stands before the address of a server that speaks gRPC and no frames."""


class Options(TypedDict, total=False):
    """Keywords of `Client`, `Client.call` and `Client.stream`; those of a call take precedence over the client's, and
    None over what the client was told."""

    metadata: Mapping[str, str] | None
    """What goes along, in addition to what the client and `sdk.metadata` send; names in any case."""
    content_type: str | None
    """How the request is encoded, and the answer; without it by the type of the request."""
    idempotent: bool
    """Whether the call may run more than once: then it is also tried again where it may have run. Unary calls."""
    retries: int
    """How often a unary call that goes straight to instances is tried again; through a node, the node does that."""
    address: str | None
    """`host:port` to call: no node is asked, nothing is looked up. Several, with commas between, are equals. A server
    that is no service of this SDK is called in gRPC: `grpc://host:port`."""
    proxy: str | None
    """The node to call through, see `ClientConfig.proxy`; None or "" to call instances directly."""
    version: str | None
    """Only instances of this version."""
    labels: Mapping[str, str] | None
    """Only instances of services whose metadata has these; names in any case."""
    must_offer: bool
    """Only instances whose record lists the endpoint, as while a new version rolls out. A node does not look at it."""
    strategy: Strategy
    """Which of the instances, or nodes, takes the call; see `sdk.strategy`."""
    key: str | None
    """Calls of one key go to one instance, or node, as long as it is there; `strategy` has no say then."""


_ANYTHING = Wanted("", lambda value: True)

_WANTED: dict[str, Wanted] = {
    "metadata": _ANYTHING,  # `pairs_of` looks at each
    "content_type": optional(text("application/json")),
    "idempotent": FLAG,
    "retries": COUNT,
    "address": optional(text("10.0.0.5:8080")),
    "proxy": optional(text("localhost:8081")),
    "version": optional(text("1.2")),
    "labels": optional(TEXTS),
    "must_offer": FLAG,
    "strategy": FUNCTION._replace(words="a function, such as sdk.strategy.round_robin"),
    "key": optional(text("user-17")),
}


class Way(NamedTuple):
    """What the options come to."""

    metadata: Metadata
    """All that is sent along."""
    own: Metadata
    """What of it is this call's own."""
    fixed: Targets | None
    """The only ones that may be called: nothing is looked up."""
    node: str
    """The name in the registry of the nodes to call through; empty for none."""
    through_node: bool
    """Whether a node takes the call."""
    filter: Filter | None
    """Which instances may be called."""
    must_offer: bool
    """Whether the endpoint belongs to that filter."""
    strategy: Strategy
    key: str
    retries: int
    idempotent: bool
    content_type: str

    def filter_for(self, endpoint: str) -> Filter | None:
        """Which instances may be called at this endpoint."""
        if not self.must_offer:
            return self.filter
        return (self.filter or Filter())._replace(endpoint=endpoint)


def way_of(defaults: Options, options: Options, fixed: Callable[[str], Targets]) -> Way:
    """What the options of a client and a call come to; `fixed` gives the targets at some addresses.

    The options of a call are looked at, and those of the client where there are no others. Raises `TypeError` for one
    that does not exist, or is of the wrong type; `BadRequest` for an address that is none.
    """
    _check(options or defaults)
    said: Options = {**defaults, **options}
    version, labels = said.get("version") or "", said.get("labels") or {}
    strategy, key = said.get("strategy", balanced), said.get("key") or ""
    node = said.get("proxy") or ""
    elsewhere = "address" in options or "proxy" in options
    address = (options if elsewhere else defaults).get("address") or ""
    if not address and GRPC in node:
        raise BadRequest(f"proxy (MICRO_PROXY) is {node!r}: a node is named as host:port, without {GRPC}")
    targets = fixed(address) if address else fixed(node) if is_addresses(node) else None
    through_node = bool(node) and not address
    own = pairs_of(options.get("metadata") or {})
    pins: Metadata = ()
    if through_node and (version or labels):
        pins = ("micro-version", version) if version else ()
        pins += pairs_of({f"micro-label-{name}": value for name, value in labels.items()})
    narrow = (version or labels) and not through_node and not address
    return Way(
        metadata=merged(merged(pairs_of(defaults.get("metadata") or {}), pins), own),
        own=merged(pins, own),
        fixed=targets,
        node=node if through_node and targets is None else "",
        through_node=through_node,
        filter=Filter(version, frozenset((name.lower(), labels[name]) for name in labels)) if narrow else None,
        must_offer=said.get("must_offer", False) and not through_node and not address,
        strategy=strategy,
        key=key,
        retries=said.get("retries", 1),
        idempotent=said.get("idempotent", False),
        content_type=said.get("content_type") or "",
    )


def _check(options: Options) -> None:
    if unknown := options.keys() - _WANTED.keys():
        hint = "; the request is one value, such as {'name': 'John'}"
        if "timeout" in unknown:
            hint = "; a deadline is a scope around the call, `with trio.fail_after(seconds):`"
        raise TypeError(f"there is no option {', '.join(sorted(unknown))}: see sdk.options.Options{hint}")
    check("options", _WANTED, options)


def is_addresses(text: str) -> bool:
    """Whether a node is named by its address, or several by theirs, and not by a name in the registry."""
    return ":" in text or "," in text


def split_addresses(text: str) -> list[str]:
    """`host:port,host:port`, one by one; each once. Raises `BadRequest`."""
    addresses = list(dict.fromkeys(part for each in text.split(",") if (part := each.strip())))
    if not addresses:
        raise BadRequest(f"{text!r} names no address: expected host:port, or several with commas between")
    for address in addresses:
        split_address(address)
    return addresses
