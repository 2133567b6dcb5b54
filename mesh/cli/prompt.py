"""`micro cli`: a prompt that takes the commands of `micro`, one in a line."""

import contextlib
import io
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields

import click

from .options import Command, Settings, settings
from .run import INTERRUPTED, exit_status

PROMPT = "micro> "

ALIASES = {"ls": ["list", "services"]}
"""What micro v2 has besides the names of commands."""

LEAVING = ("quit", "exit")

UNFIT = ("cli", "network", "proxy", "registry", "router", "tunnel")
"""Commands that run until they are stopped and then take the process along, or would ask in the place of this prompt.
Only those of `network` that ask a node are fit."""


@click.command(name="cli", cls=Command)
def prompt() -> None:
    """Take commands at a prompt: call greeter Greeter.Hello {"name": "John"}

    JSON needs no quotes around it. `help` lists the commands, `help call` tells of one, `quit` or the end of the input
    leaves. From a pipe the lines are run one after the other, and the exit status is 1 when one of them failed.
    """
    root = click.get_current_context().find_root().command
    said = _said(settings())
    assert isinstance(root, click.Group)
    by_person = sys.stdin is not None and sys.stdin.isatty()
    if by_person:
        _complete([*root.commands, *ALIASES, "help", *LEAVING])
    failed = False
    for line in _lines(by_person):
        try:
            words = split(line)
        except ValueError as error:
            click.echo(f"error: {error}", err=True)
            failed = True
            continue
        if not words:
            continue
        if words[0] in LEAVING:
            break
        if words[0] in UNFIT and not _ends(root, words):
            click.echo(
                f"error: `micro {words[0]}` runs until it is stopped: start it in a terminal of its own", err=True
            )
            failed = True
            continue
        if words[0] in ("help", "?"):
            words = [*words[1:], "--help"]
        failed |= exit_status(root, [*said, *ALIASES.get(words[0], words[:1]), *words[1:]]) not in (0, INTERRUPTED)
    if failed and not by_person:
        click.get_current_context().exit(1)


def split(line: str) -> list[str]:
    """The words of a line as a shell has them, but JSON that begins with a bracket needs no quotes. Raises `ValueError`
    for a quote that does not end."""
    words: list[str] = []
    rest = line.strip()
    while rest:
        if rest[0] in "{[":
            with contextlib.suppress(json.JSONDecodeError):
                _, end = json.JSONDecoder().raw_decode(rest)
                words.append(rest[:end])
                rest = rest[end:].lstrip()
                continue
        source = io.StringIO(rest)
        lexer = shlex.shlex(source, posix=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        try:
            word = lexer.get_token()
        except ValueError as error:
            raise ValueError(f"the line cannot be read: {str(error).lower()}") from None
        if word is None:
            break
        words.append(word)
        rest = rest[source.tell() :].lstrip()
    return words


def _ends(root: click.Group, words: list[str]) -> bool:
    """Whether one of the unfit commands ends by itself here: told to help, or with a subcommand behind it."""
    command = root.commands[words[0]]
    subcommands = command.commands if isinstance(command, click.Group) else {}
    return any(word == "--help" or word in subcommands for word in words[1:])


def _said(given: Settings) -> list[str]:
    """The flags that stood before `cli`, for each of its commands."""
    return [
        word
        for field in fields(given)
        if (value := getattr(given, field.name))
        for word in (f"--{field.name.replace('_', '-')}", value)
    ]


def _lines(by_person: bool) -> Iterator[str]:
    """What is typed, line by line, or comes by a pipe. Ctrl-C gives up a line."""
    if not by_person:
        yield from sys.stdin or ()  # nothing, where standard input was closed before the start
        return
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            click.echo()
            return
        except KeyboardInterrupt:
            click.echo()


def _complete(names: list[str]) -> None:
    """Has the terminal complete the first word, and keep what was typed, where Python has readline."""
    try:
        import readline
    except ImportError:
        return

    def complete(text: str, state: int) -> str | None:
        first = not readline.get_line_buffer()[: readline.get_begidx()].strip()
        fitting = sorted({name for name in names if name.startswith(text)}) if first else []
        return f"{fitting[state]} " if state < len(fitting) else None

    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
