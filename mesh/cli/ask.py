"""The subcommands of `micro network` that ask a node which runs."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import click

from sdk.errors import MicroError, NotFound, Unavailable, Unimplemented

from . import render
from .explain import explanation, to_gateway
from .options import Command, output
from .run import Failure, run, run_while_read
from .target import client

FORMS = ("table", "json")

NODE = "go.micro.network"
"""The service that every node offers about itself."""

_ADVICE = (
    "Start one with `micro network`, or say where one is with MICRO_PROXY_ADDRESS=host:port (its port for programs, "
    "8081 by default, and not the one for links) or --registry-address"
)

_FOREIGN = (
    "error: the node answered what this command cannot show: it is of another version, or no node; --output json "
    "prints what came"
)

ROUTE = ("service", "address", "gateway", "router", "network", "metric", "link")
"""What is shown of a route, as micro shows it; JSON has the rest."""

LINK = ("node", "name", "address", "transport", "state", "delay", "loss", "rate in", "rate out", "streams", "queued",
        "cost", "up")  # fmt: skip
"""What is shown of a link."""

CALL = ("ago", "service", "endpoint", "protocol", "status", "ms", "tries", "path")
"""What is shown of a call."""

SIGNS = {"create": "+", "update": "~", "delete": "-", "resync": "!"}
"""What begins the line of a change."""


def _asks(command: Any) -> Any:
    return click.option("--proxy-address", metavar="HOST:PORT", help="The node to ask.")(command)


def _query(command: Any) -> Any:
    command = click.option(
        "--strategy", type=click.Choice(["all", "best", "local", "none"]), help="Which of them: best is the cheapest "
        "of each service, local those of this environment.",
    )(command)  # fmt: skip
    for name in reversed(("service", "address", "gateway", "router", "network", "link")):
        command = click.option(f"--{name}", default="", help=f"Only routes with this {name}.")(command)
    return command


@click.command(cls=Command)
@_asks
def nodes(proxy_address: str | None) -> None:
    """List the nodes of the network."""
    reply = _ask(proxy_address, "Network.Nodes")
    _show(reply, lambda: render.table(("ID", "ADDRESS"), _rows(reply, "nodes", ("id", "address"))))


@click.command(cls=Command)
@_query
@click.option("--watch", is_flag=True, help="Go on with every change, a line for each, until Ctrl-C.")
@_asks
def routes(proxy_address: str | None, watch: bool, **query: str | None) -> None:
    """List the routes the node knows.

    With --watch each line begins with + for a route that is there, ~ for another metric, - for one that is gone, and !
    where more has changed than can be told one by one: all routes follow anew.
    """
    request = {name: value for name, value in query.items() if value}
    if watch:
        _watch(proxy_address, request)
        return
    reply = _ask(proxy_address, "Network.Routes", request)
    _show(reply, lambda: render.table([name.upper() for name in ROUTE], _rows(reply, "routes", ROUTE)))


@click.command(cls=Command)
@_asks
def services(proxy_address: str | None) -> None:
    """List the services that can be called through the node."""
    reply = _ask(proxy_address, "Network.Services")
    _show(reply, lambda: "\n".join(render.printable(name) for name in reply["services"]))


@click.command(cls=Command)
@_asks
def graph(proxy_address: str | None) -> None:
    """Show who is linked to whom, seen from the node: peers indented below their node, three links deep."""
    reply = _ask(proxy_address, "Network.Graph")
    _show(reply, lambda: render.tree(reply["root"]))


@click.command(cls=Command)
@_asks
def connections(proxy_address: str | None) -> None:
    """List the nodes this one is linked to."""
    reply = _ask(proxy_address, "Network.Connections")
    _show(reply, lambda: render.table(("NODE", "ADDRESS"), _rows(reply, "connections", ("node", "address"))))


@click.command(cls=Command)
@_asks
def links(proxy_address: str | None) -> None:
    """Show the links of the node and how they are: delay, loss, bytes a second, open calls, bytes that wait, cost."""
    reply = _ask(proxy_address, "Network.Links")
    _show(reply, lambda: render.table([name.upper() for name in LINK], map(_link, reply["links"])))


@click.command(cls=Command)
@click.argument("service")
@_asks
def why(proxy_address: str | None, service: str) -> None:
    """Say why calls of SERVICE go where they go: who offers it, over which path, at which cost, and who is chosen."""
    missing = f"nobody offers {service!r}"
    reply = _ask(proxy_address, "Network.Why", {"service": service}, missing=missing)
    _show(reply, lambda: explanation(reply) if reply["candidates"] else "")
    left = _readable(lambda: "" if reply["candidates"] else to_gateway(reply["gateway"]))
    if not left:
        return
    raise Failure(f"error: {missing} here or within three links: {left}; see `micro network services`")


@click.command(cls=Command)
@click.argument("service", default="")
@click.option("--count", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@_asks
def calls(proxy_address: str | None, service: str, count: int) -> None:
    """List the last calls of programs of the node, of SERVICE or all, newest first."""
    reply = _ask(proxy_address, "Network.Calls", {"service": service, "count": count})
    _show(reply, lambda: render.table([name.upper() for name in CALL], map(_call, reply["calls"])))


@click.command(cls=Command)
@click.argument("address")
@_asks
def connect(proxy_address: str | None, address: str) -> None:
    """Let the node link to the one at ADDRESS."""
    reply = _ask(proxy_address, "Network.Connect", {"address": address})
    _show(reply, lambda: "ok")


@click.command(cls=Command)
@_asks
def reload(proxy_address: str | None) -> None:
    """Let the node read its files again: tokens, proxy tokens, certificates and keys.

    Its links stay up; when one of the files cannot be used, nothing changes.
    """
    reply = _ask(proxy_address, "Network.Reload")
    _show(reply, lambda: "\n".join(_reloaded(reply)))


def _reloaded(reply: dict[str, Any]) -> Iterator[str]:
    for what, key in (("tokens", "tokens"), ("proxy tokens", "proxy_tokens")):
        if key in reply:
            yield f"{what} accepted now: {reply[key]}"
    for file in reply.get("tls", ()):
        yield f"read again: {render.printable(file)}"


@click.command(cls=Command)
@_asks
def status(proxy_address: str | None) -> None:
    """Show how the node is: links, seeds, registry."""
    reply = _ask(proxy_address, "Network.Status")
    _show(reply, lambda: render.pairs(reply))


COMMANDS = (nodes, routes, services, graph, connections, links, why, calls, connect, reload, status)
"""All of them."""


def _ask(
    proxy_address: str | None, endpoint: str, request: dict[str, Any] | None = None, *, missing: str = ""
) -> dict[str, Any]:
    """Calls the node's own service. Where the node answers that what is asked for does not exist, `missing` says so."""
    address = _address(proxy_address)

    async def call() -> Any:
        async with client(address) as caller:
            return await caller.call(NODE, endpoint, request or {}, idempotent=endpoint != "Network.Connect")

    try:
        reply: dict[str, Any] = run(call)
    except MicroError as error:
        raise _failure(error, missing) from None
    return reply


def _watch(proxy_address: str | None, request: dict[str, Any]) -> None:
    """Prints changes as they come."""
    address = _address(proxy_address)
    as_json = output(FORMS) == "json"

    async def listen() -> None:
        async with client(address) as caller, caller.stream(NODE, "Network.Watch", request) as changes:
            await changes.send_eof()
            async for change in changes:
                click.echo(render.to_json_line(change) if as_json else _readable(partial(_change, change)))

    try:
        run_while_read(listen)
    except MicroError as error:
        if isinstance(error, Unavailable) and error.may_have_run:
            raise Failure(f"error: the node is gone: {error}") from None
        raise _failure(error, "") from None
    raise Failure("error: the node ended the watch: it is stopping")


def _address(proxy_address: str | None) -> str | None:
    """The node to ask: its own flag, or that of `micro network`."""
    group = click.get_current_context().parent
    assert group is not None
    return proxy_address or group.params["proxy_address"]


def _failure(error: MicroError, missing: str) -> Failure:
    """What to say, and what to do where there is no node."""
    if missing and isinstance(error, NotFound) and missing in error.detail:
        return Failure(f"error: {error.detail}")
    if isinstance(error, Unimplemented) or not isinstance(error, NotFound | Unavailable):
        return Failure(f"error asking the node: {error}")
    # A client without its proxy gives the advice itself.
    advice = "" if "`micro network`" in error.detail else f". {_ADVICE}"
    return Failure(f"error: no node answers: {error}{advice}")


def _show(reply: dict[str, Any], text: Callable[[], str]) -> None:
    lines = render.to_json(reply) if output(FORMS) == "json" else _readable(text)
    if lines:
        click.echo(lines)


def _readable(text: Callable[[], str]) -> str:
    """The answer as text; raises `Failure` where it is not what nodes of this version answer."""
    try:
        return text()
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Failure(_FOREIGN) from None


def _rows(reply: dict[str, Any], what: str, columns: Sequence[str]) -> list[list[object]]:
    return [[record.get(column, "") for column in columns] for record in reply[what]]


def _link(record: dict[str, Any]) -> list[object]:
    delay, cost = record["delay_ms"], record["cost"]
    return [
        record["node"], record["name"], record["address"], record["transport"], record["state"],
        "" if delay is None else f"{delay:.1f} ms", f"{record['loss']:.1%}", f"{render.size(record['rate_in'])}/s",
        f"{render.size(record['rate_out'])}/s", record["streams"], render.size(record["queued"]),
        "" if cost is None else cost, f"{record['up_s']:.0f} s",
    ]  # fmt: skip


def _change(event: dict[str, Any]) -> str:
    sign, route = SIGNS.get(event["change"], "?"), event["route"]
    if route is None:
        return f"{sign} more has changed than can be told: all routes follow"
    return f"{sign} " + "  ".join(render.printable(route[column]) or "-" for column in ROUTE)


def _call(record: dict[str, Any]) -> Sequence[str]:
    path = " ".join(record["path"]) or "here"
    return (
        f"{record['ago_s']} s", record["service"], record["endpoint"], record["protocol"], record["status"],
        str(record["ms"]), str(record["tries"]), path,
    )  # fmt: skip
