"""`micro health` and `micro stats`: what the instances of a service say of themselves.

Without a node every instance of the local registry is asked, all at once. Through a node one call goes to one instance,
as the node chooses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click
import trio

from sdk import Client
from sdk.codec import JSON
from sdk.errors import MicroError
from sdk.types import Instance

from . import render
from .call import metadata_option
from .options import Command, output
from .run import Failure, run
from .target import ask_option, client, node_to_ask, registry

FORMS = ("table", "json")

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of asking one instance."""

    whom: str
    """Whom, for a person."""
    reply: Mapping[str, Any]
    """What it said; nothing where it could not be asked."""
    error: str = ""
    """Why it could not."""


def _whom(command: Any) -> Any:
    command = metadata_option(ask_option(command))
    command = click.option("--node", default="", help="Through a node: only instances at the node of this id or name.")(
        command
    )
    command = click.option("--instance", default="", help="Without a node: only the instance of this id or address.")(
        command
    )
    return click.argument("service")(command)


@click.command(cls=Command)
@_whom
def health(service: str, instance: str, node: str, metadata: Pairs, proxy_address: str | None) -> None:
    """Show whether the instances of SERVICE can do their work, and what their checks say.

    The exit status is 1 when one of them cannot, or does not answer.
    """
    form = output(FORMS)
    answers = _ask(service, "Debug.Health", instance, node, dict(metadata), proxy_address)
    if form == "json":
        click.echo(render.to_json({"instances": [_told(answer) for answer in answers]}))
    else:
        rows = [
            (
                answer.reply.get("instance", answer.whom),
                answer.reply.get("version", ""),
                answer.reply.get("status", "no answer"),
                answer.error or ", ".join(f"{name}: {text}" for name, text in _pairs(answer.reply, "checks")),
            )
            for answer in answers
        ]
        click.echo(render.table(("INSTANCE", "VERSION", "STATUS", "CHECKS"), rows))
    _end(all(answer.reply.get("status") == "serving" for answer in answers))


@click.command(cls=Command)
@_whom
def stats(service: str, instance: str, node: str, metadata: Pairs, proxy_address: str | None) -> None:
    """Show what the instances of SERVICE have done since they started: requests, errors and times by endpoint.

    The exit status is 1 when one of them does not answer.
    """
    form = output(FORMS)
    answers = _ask(service, "Debug.Stats", instance, node, dict(metadata), proxy_address)
    if form == "json":
        click.echo(render.to_json({"instances": [_told(answer) for answer in answers]}))
    else:
        instances = ("INSTANCE", "VERSION", "UP", "MEMORY", "TASKS", "OPEN", "REQUESTS", "ERRORS", "PROBLEM")
        endpoints = ("INSTANCE", "ENDPOINT", "REQUESTS", "ERRORS", "P50", "P90", "P99", "MAX")
        rows = [row for answer in answers if not answer.error for row in _endpoints(answer)]
        click.echo(render.table(instances, [_instance(answer) for answer in answers]))
        click.echo("\n" + render.table(endpoints, rows))
    _end(not any(answer.error for answer in answers))


def _ask(
    service: str, endpoint: str, instance: str, node: str, metadata: dict[str, str], proxy_address: str | None
) -> list[Answer]:
    """The answers of all who are to be asked; raises `Failure` where there is nobody."""
    through_node = bool(node_to_ask(proxy_address))
    if through_node and instance:
        raise click.UsageError("--instance is for the local registry: a node chooses the instance itself, see --node")
    if node and not through_node:
        raise click.UsageError("--node needs a node to ask: --proxy-address (MICRO_PROXY_ADDRESS) or MICRO_PROXY")
    if through_node:
        if node:
            metadata["micro-router"] = node
        return [run(lambda: _through_node(service, endpoint, metadata, proxy_address))]
    return run(lambda: _each(service, endpoint, instance, metadata))


async def _through_node(service: str, endpoint: str, metadata: dict[str, str], proxy_address: str | None) -> Answer:
    async with client(proxy_address) as caller:
        try:
            reply = await caller.call(service, endpoint, {}, content_type=JSON, metadata=metadata, idempotent=True)
        except MicroError as error:
            raise Failure(f"error calling {service}.{endpoint}: {error}") from None
    return Answer(whom=service, reply=_record(reply))


async def _each(service: str, endpoint: str, wanted: str, metadata: dict[str, str]) -> list[Answer]:
    answers: dict[str, Answer] = {}

    async def ask(caller: Client, instance: Instance) -> None:
        if not instance.native and instance.protocol != "grpc":
            said = f"it speaks {instance.protocol} only: programs that know nothing of micro say nothing of themselves"
            answers[instance.id] = Answer(whom=instance.id, reply={}, error=said)
            return
        address = instance.address if instance.native else f"grpc://{instance.address}"
        try:
            reply = await caller.call(
                service, endpoint, {}, content_type=JSON, metadata=metadata, address=address, idempotent=True
            )
        except MicroError as error:
            answers[instance.id] = Answer(whom=instance.id, reply={}, error=str(error))
        else:
            answers[instance.id] = Answer(whom=instance.id, reply=_record(reply))

    async with registry() as store, Client(registry=store, proxy=None) as caller:
        instances = [each for record in await store.get(service) for each in record.instances]
        asked = [each for each in instances if wanted in ("", each.id, each.address)]
        if not asked:
            raise Failure(f"error: {_missing(service, wanted, bool(instances))}")
        async with trio.open_nursery() as nursery:
            for instance in asked:
                nursery.start_soon(ask, caller, instance)
    return [answers[instance.id] for instance in asked]


def _missing(service: str, wanted: str, there: bool) -> str:
    """That there is nobody to ask, and where to look."""
    if there:
        return f"no instance {wanted!r} of {service!r} in the local registry; `micro get service {service}` shows them"
    return (
        f"no service {service!r} in the local registry; `micro list services` shows those there are. One that is "
        "attached to a node is asked through it: --proxy-address (MICRO_PROXY_ADDRESS)"
    )


def _told(answer: Answer) -> dict[str, Any]:
    return {"instance": answer.whom, "error": answer.error} if answer.error else dict(answer.reply)


def _instance(answer: Answer) -> tuple[object, ...]:
    if answer.error:
        return (answer.whom, *[""] * 7, answer.error)
    reply = answer.reply
    return (
        reply.get("instance", ""),
        reply.get("version", ""),
        _number(reply, "uptime", lambda seconds: f"{seconds:.0f} s"),
        _number(reply, "memory", render.size),
        *(reply.get(key, "") for key in ("tasks", "open_calls", "requests", "errors")),
        "",
    )


def _endpoints(answer: Answer) -> list[tuple[object, ...]]:
    return [
        (
            answer.reply.get("instance", ""),
            name,
            counted.get("requests", ""),
            counted.get("errors", ""),
            *(_number(counted, key, _milliseconds) for key in ("p50", "p90", "p99", "max")),
        )
        for name, counted in _pairs(answer.reply, "endpoints")
        if isinstance(counted, Mapping)
    ]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def _record(reply: Any) -> Mapping[str, Any]:
    """What came, which another program may have written."""
    return reply if isinstance(reply, Mapping) else {}


def _pairs(reply: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    return list(_record(reply.get(key)).items())


def _number(reply: Mapping[str, Any], key: str, show: Callable[[float], str]) -> str:
    value = reply.get(key)
    return show(value) if isinstance(value, int | float) else ""


def _end(well: bool) -> None:
    if not well:
        click.get_current_context().exit(1)
