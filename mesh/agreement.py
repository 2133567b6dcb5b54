"""What differs between nodes that should agree: a test waits until it is nothing, and says it where it never is."""

from collections.abc import Collection, Iterator, Mapping

from router.linkstate import MAX_RADIUS, distances

from .node import Node


def differences(
    nodes: Mapping[str, Node], *, lines: Mapping[tuple[str, str], bool], offered: Mapping[str, Collection[str]]
) -> Iterator[str]:
    """What is not yet as it should be among these nodes, by name, one sentence each.

    `lines` are the pairs of nodes that ought to be linked (True) or cannot be (False); `offered` are the services that
    each node should tell.
    """
    names = {node.gossip.me: name for name, node in nodes.items()}
    for (one, other), whole in lines.items():
        linked = nodes[other].gossip.me in nodes[one].gossip.edges.get(nodes[one].gossip.me, {})
        if linked != whole:
            yield f"{one} and {other} are {'still' if linked else 'not'} linked"
    for name, node in nodes.items():
        for id in node.gossip.reachable:
            if id in names:
                yield from _links_differ(name, node, names[id], nodes[names[id]], names)
            else:
                yield f"{name} takes {_called(id, node, names)} for reachable, which is gone"
        for id, links in distances(node.gossip.me, node.gossip.edges, MAX_RADIUS).items():
            if id in names:
                yield from _services_differ(name, node, names[id], nodes[names[id]], links)
        yield from _own_services_differ(name, node, set(offered[name]))
        if not node.table.settled:
            yield f"{name} has not chosen its paths"


def _called(id: bytes, node: Node, names: Mapping[bytes, str]) -> str:
    if id in names:
        return names[id]
    origin = node.gossip.origins.get(id)
    return f"an earlier {origin.name}" if origin else "somebody"


def _links_differ(name: str, node: Node, other: str, there: Node, names: Mapping[bytes, str]) -> Iterator[str]:
    """Two nodes that can reach one another know the same links."""
    if node.gossip.link_state_root == there.gossip.link_state_root:
        return
    mine, theirs = node.gossip.origins, there.gossip.origins
    about = [
        _called(id, node if id in mine else there, names)
        for id in {**mine, **theirs}
        if id not in mine or id not in theirs or mine[id].edges != theirs[id].edges
    ]
    yield f"{name} and {other} know different links of {', '.join(sorted(about)) or 'the same nodes, said anew'}"


def _services_differ(name: str, node: Node, other: str, origin: Node, links: int) -> Iterator[str]:
    """What an origin tells is known as far as it is told."""
    id = origin.gossip.me
    told = origin.gossip.origins[id]
    if links > told.radius or node.gossip.services_root(id) == origin.gossip.services_root(id):
        return
    view = node.gossip.origins.get(id)
    known = set(view.services) if view else set()
    yield f"{name} does not know what {other} offers: {_apart(known, set(told.services))}"


def _own_services_differ(name: str, node: Node, offered: set[str]) -> Iterator[str]:
    """What is in a node's registry is in its table, and told."""
    known = {entry.service for entry in node.table.local_entries}
    if known != offered:
        yield f"{name} does not know its own services: {_apart(known, offered)}"
    told = set(node.gossip.origins[node.gossip.me].services)
    if told != known:
        yield f"{name} has not told what it offers: {_apart(told, known)}"


def _apart(has: set[str], should: set[str]) -> str:
    """What one set has too little, and what too much."""
    lacking, left = sorted(should - has), sorted(has - should)
    parts = [f"{', '.join(lacking)} is missing" if lacking else "", f"{', '.join(left)} is still there" if left else ""]
    return " and ".join(filter(None, parts)) or "the same names, in an older state"
