"""`micro list`, `get`, `register`, `deregister` and `watch`: what a registry holds.

It is the one the flags name; else that of the node at MICRO_PROXY_ADDRESS or MICRO_PROXY, which every node and proxy
offers; else the local one.
"""

import math
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click
import trio

from sdk.errors import BadRequest, Forbidden, MicroError, Unauthorized, Unavailable
from sdk.registry import Event, Registry
from sdk.types import Service, service_to_json

from . import render
from .options import Command, Group, Json, output
from .run import Failure, run, run_while_read
from .target import ask_option, node_of_registry, registry_of

if TYPE_CHECKING:
    from mesh.offer import Offer

T = TypeVar("T")

FORMS = ("table", "json")

FIRST_WAIT = 0.2
"""Seconds before a registry that went away is watched again, about doubled each time …"""
LONGEST_WAIT = 5.0
"""… up to this."""


@click.group("list", cls=Group)
def list_() -> None:
    """List what the local registry holds."""


@list_.command("services")
@ask_option
def list_services(proxy_address: str | None) -> None:
    """List the names of all services."""
    form = output(FORMS)
    records = _with_registry(proxy_address, lambda store: store.list())
    names = sorted({record.name for record in records})
    if form == "json":
        click.echo(render.to_json({"services": names}))
    else:
        _lines(names)


@click.group(cls=Group)
def get() -> None:
    """Show one thing of the local registry."""


@get.command("service")
@click.argument("name")
@ask_option
def get_service(name: str, proxy_address: str | None) -> None:
    """Show the instances and endpoints of a service, version by version."""
    form = output(FORMS)
    records = _with_registry(proxy_address, lambda store: store.get(name))
    if not records:
        node = node_of_registry(proxy_address)
        where = f"registry of the node at {node}" if node else "local registry"
        raise Failure(f"error: no service {name!r} in the {where}; `micro list services` shows those there are")
    if form == "json":
        click.echo(render.to_json({"services": [service_to_json(record) for record in records]}))
    else:
        click.echo("\n\n".join(describe(record) for record in records))


@click.group(cls=Group)
def register() -> None:
    """Offer something in the local registry."""


@register.command("service")
@click.argument("record", metavar="JSON", type=Json())
@ask_option
def register_service(record: Any, proxy_address: str | None) -> None:
    """Offer a service that any program runs; it stays until it is deregistered. With mdns, which has no store, for as
    long as this command runs.

    \b
    micro register service '{"name": "hello", "nodes": [{"id": "hello-1",
        "address": "10.0.0.7:9090", "metadata": {"protocol": "grpc", "check": "tcp"}}]}'

    - in place of JSON reads it from standard input. With "options": {"ttl": 60} it goes after so many seconds, unless
    it is registered again.

    With "check" (tcp, grpc, /path, http://host:port/path or https://host:port/path) nodes withdraw an instance that is
    dead; "check-interval", "check-timeout", "check-failures" and "check-successes" say how fast.
    """
    from mesh.offer import parse_offer

    done = _done(output(FORMS))
    offer = _read(parse_offer, record)
    for note in offer.notes:
        click.echo(f"note: {render.printable(note)}", err=True)
    _with_registry(proxy_address, lambda store: _offer(store, offer, done))


@click.group(cls=Group)
def deregister() -> None:
    """Take something out of the local registry."""


@deregister.command("service")
@click.argument("record", metavar="JSON", type=Json())
@ask_option
def deregister_service(record: Any, proxy_address: str | None) -> None:
    """Take the instances of this record out of the local registry; what is not there is no error.

    Name and ids are enough: {"name": "hello", "nodes": [{"id": "hello-1"}]}. Without a version, they are taken out of
    all. - in place of JSON reads it from standard input.
    """
    from mesh.offer import parse_withdrawal

    done = _done(output(FORMS))
    service = _read(parse_withdrawal, record)
    _with_registry(proxy_address, lambda store: _withdraw(store, service, every_version=not record.get("version")))
    click.echo(done)


@click.command(cls=Command)
@click.argument("service", required=False, default="")
@ask_option
def watch(service: str, proxy_address: str | None) -> None:
    """Print what is offered, and then each change, until interrupted; of SERVICE alone where it is given. While the
    registry is away it waits, and then prints what has changed meanwhile."""
    form = output(FORMS)

    store = registry_of(proxy_address)

    async def follow() -> None:
        async with store, store.watch() as events:
            async for event in _over_outages(events):
                if service in ("", event.service.name):
                    click.echo(_change(event, form))

    _asking(proxy_address, lambda: run_while_read(follow))


def describe(service: Service) -> str:
    """A service's record as a person reads it."""
    lines = [f"service   {render.printable(service.name)}", f"version   {render.printable(service.version)}"]
    if service.metadata:
        lines.append(f"metadata  {render.printable(render.metadata(service.metadata))}")
    rows = [(each.id, each.address, render.metadata(each.metadata)) for each in service.instances]
    parts = ["\n".join(lines), render.table(("ID", "ADDRESS", "METADATA"), rows)]
    for endpoint in service.endpoints:
        labels = f"  {render.printable(render.metadata(endpoint.metadata))}" if endpoint.metadata else ""
        request, response = (_indented(render.schema(value)) for value in (endpoint.request, endpoint.response))
        parts.append(
            f"endpoint  {render.printable(endpoint.name)}{labels}\n  request   {request}\n  response  {response}"
        )
    return "\n\n".join(parts)


async def _over_outages(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    wait = 0.0
    while True:
        try:
            event = await anext(events)
        except StopAsyncIteration:
            return
        except MicroError as error:
            if isinstance(error, BadRequest | Forbidden | Unauthorized):
                raise
            if not wait:
                click.echo(f"waiting, until it is back: {render.printable(error)}", err=True)
            wait = min(2 * wait + FIRST_WAIT, LONGEST_WAIT)
            await trio.sleep(wait)
        else:
            wait = 0.0
            yield event


def _change(event: Event, form: str) -> str:
    if form == "json":
        return render.to_json_line({"action": event.action.value, "service": service_to_json(event.service)})
    service, instance = event.service, event.service.instances[0]
    row = (event.action.value, service.name, service.version, instance.id, instance.address)
    return "  ".join(render.printable(text) for text in (*row, render.metadata(instance.metadata))).rstrip()


def _done(form: str) -> str:
    """What is printed by what has nothing to show."""
    return render.to_json({}) if form == "json" else "ok"


async def _offer(store: Registry, offer: "Offer", done: str) -> None:
    await store.register(offer.service, ttl=offer.ttl)
    click.echo(done)
    if store.name == "mdns":
        with (
            trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
            trio.move_on_after(math.inf if offer.ttl is None else offer.ttl),
        ):
            click.echo("mdns has no store: it is offered until this command is ended", err=True)
            await anext(signals)


async def _withdraw(store: Registry, service: Service, *, every_version: bool) -> None:
    """Takes the instances out of this version, or of every version that has one of them."""
    ids = {instance.id for instance in service.instances}
    found = [
        replace(record, instances=tuple(each for each in record.instances if each.id in ids))
        for record in await store.get(service.name)
        if every_version or record.version == service.version
    ]
    there = [record for record in found if record.instances]
    for record in there or [service]:  # what cannot be read is not shown, and may go all the same
        await store.deregister(record)
    if not there:
        click.echo("note: there was none of these; `micro get service` shows what there is", err=True)


def _read(read: Callable[[Any], T], record: Any) -> T:
    try:
        return read(record)
    except BadRequest as error:
        raise click.UsageError(f"this is no record of a service: {error.detail}") from None


def _with_registry(proxy_address: str | None, use: Callable[[Registry], Awaitable[T]]) -> T:
    store = registry_of(proxy_address)

    async def open_and_use() -> T:
        async with store:
            return await use(store)

    return _asking(proxy_address, lambda: run(open_and_use))


def _asking(proxy_address: str | None, ask: Callable[[], T]) -> T:
    """Says of a registry that does not answer whose it is: the flag that is to be changed is another one then."""
    try:
        return ask()
    except Unavailable as error:
        node = node_of_registry(proxy_address)
        if not node:
            raise
        raise Failure(
            f"error: the registry of the node at {node} is asked, as --proxy-address (MICRO_PROXY_ADDRESS) or "
            f"MICRO_PROXY says: {error}"
        ) from None


def _indented(text: str) -> str:
    return text.replace("\n", "\n            ")


def _lines(lines: list[str]) -> None:
    if lines:
        click.echo("\n".join(render.printable(line) for line in lines))
