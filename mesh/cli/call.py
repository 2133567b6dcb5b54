"""`micro call` and `micro stream`: one call from the command line."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from sdk.codec import JSON
from sdk.errors import MicroError

from .options import Command, Json, Pair, output
from .render import to_json, to_json_line
from .run import Failure, run, run_while_read
from .target import ask_option, client

T = TypeVar("T")

metadata_option = click.option(
    "--metadata", metavar="KEY=VALUE", type=Pair(), multiple=True, envvar="MICRO_METADATA", show_envvar=True,
    help="Metadata of the call; may be given several times.",
)  # fmt: skip


@click.command(cls=Command)
@click.argument("service")
@click.argument("endpoint")
@click.argument("request", metavar="[JSON]", type=Json(), default="{}")
@metadata_option
@ask_option
def call(
    service: str, endpoint: str, request: Any, metadata: tuple[tuple[str, str], ...], proxy_address: str | None
) -> None:
    """Call ENDPOINT of SERVICE and print the answer.

    The request is JSON, {} when it is left out: micro call greeter Greeter.Hello '{"name": "John"}'
    """
    form = output(("json", "raw"))

    async def ask() -> Any:
        async with client(proxy_address) as caller:
            return await caller.call(service, endpoint, request, metadata=dict(metadata), content_type=JSON)

    reply = _calling(service, endpoint, lambda: run(ask))
    click.echo(to_json(reply) if form == "json" else _raw(reply))


@click.command(cls=Command)
@click.argument("service")
@click.argument("endpoint")
@click.argument("request", metavar="[JSON]", type=Json(), required=False)
@metadata_option
@ask_option
def stream(
    service: str, endpoint: str, request: Any, metadata: tuple[tuple[str, str], ...], proxy_address: str | None
) -> None:
    """Call a streaming ENDPOINT of SERVICE and print each message on a line of its own, as it comes.

    The first message sent is JSON; none is sent when it is left out. Ends with the stream, or on Ctrl-C.
    """
    form = output(("json", "raw"))

    async def listen() -> None:
        async with (
            client(proxy_address) as caller,
            caller.stream(service, endpoint, request, metadata=dict(metadata), content_type=JSON) as messages,
        ):
            await messages.send_eof()
            async for message in messages:
                click.echo(to_json_line(message) if form == "json" else _raw(message))

    _calling(service, endpoint, lambda: run_while_read(listen))


def _raw(message: Any) -> str | bytes:
    """Text and bytes as they are, for the next program in a pipe."""
    return message if isinstance(message, str | bytes) else to_json_line(message)


def _calling(service: str, endpoint: str, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except MicroError as error:
        raise Failure(f"error calling {service}.{endpoint}: {error}") from None
