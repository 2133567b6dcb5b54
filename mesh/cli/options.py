"""The flags every command has, and how they are read.

`--registry`, `--registry-address`, `--log-level` and `--output` may stand before or after a subcommand; the last one
wins, and any of them wins over its environment variable. Every flag may be written with underscores as well, as micro
has it.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import click
from click.core import ParameterSource

_META = "mesh.cli.options"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the flags of every command came to."""

    registry: str = field(default="", repr=False)
    """Kind of the local registry; empty for the built-in default."""
    registry_address: str = field(default="", repr=False)
    """Where that registry is; empty for its default."""
    log_level: str = ""
    """`debug`, `info`, `warning` or `error`; empty where nobody said."""
    output: str = ""
    """`table`, `json` or `raw`; empty where nobody said."""


def settings() -> Settings:
    """The settings of the command that runs now."""
    given = click.get_current_context().meta.get(_META, {})
    return Settings(**{name: value for name, (value, _) in given.items()})


def by_flag(name: str) -> bool:
    """Whether a flag of every command was given on the command line, and not by its variable."""
    return bool(click.get_current_context().meta.get(_META, {}).get(name, ("", False))[1])


def output(known: Sequence[str]) -> str:
    """How to print: what was asked for, where this command knows it, else the first that it knows.

    A flag that asks for something else is a mistake and raises `click.UsageError`; the variable, which is meant for
    every command, is passed over.
    """
    asked, by_flag = click.get_current_context().meta.get(_META, {}).get("output", ("", False))
    if asked in known:
        return str(asked)
    if by_flag:
        raise click.UsageError(f"--output {asked} does not fit this command; it knows {' and '.join(known)}")
    return known[0]


def dashes(name: str) -> str:
    """The one spelling of a flag's name: micro writes `--registry_address`, most others `--registry-address`."""
    return name.replace("_", "-")


def _keep(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Keeps a flag for `settings`: the outermost command comes first, and only flags change what stands."""
    assert parameter.name is not None
    kept: dict[str, tuple[str, bool]] = context.meta.setdefault(_META, {})
    by_flag = context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    if by_flag or (value is not None and parameter.name not in kept):
        kept[parameter.name] = (value or "", by_flag)


def _global(name: str, text: str, **more: Any) -> click.Option:
    variable = "MICRO_" + name.removeprefix("--").replace("-", "_").upper()
    return click.Option(
        [name], envvar=variable, show_envvar=True, expose_value=False, callback=_keep, help=text, **more
    )


EVERYWHERE = (
    _global(
        "--registry",
        "Kind of the local registry: mdns (when nothing is said), sqlite, etcd, consul, kubernetes, dns, memory, "
        "or service, which is called; or its URL.",
    ),
    _global("--registry-address", "Where the local registry is: for sqlite a path, else host:port,... or a URL."),
    _global(
        "--log-level",
        "How much is logged to standard error.",
        type=click.Choice(["debug", "info", "warning", "error"]),
    ),
    _global(
        "--output",
        "Tables for people, JSON for programs; an answer of a call is JSON unless raw.",
        type=click.Choice(["table", "json", "raw"]),
    ),
)
"""The flags that every command has."""


class Command(click.Command):
    """A command with the flags that every command has, which its help lists apart."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, then those of every command."""
        return [*super().get_params(ctx), *EVERYWHERE]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options in two sections."""
        own = [parameter for parameter in self.get_params(ctx) if parameter not in EVERYWHERE]
        for title, parameters in (("Options", own), ("Options of every command", EVERYWHERE)):
            records = [parameter.get_help_record(ctx) for parameter in parameters]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])


class Group(Command, click.Group):
    """A command with subcommands."""

    command_class = Command
    group_class = type

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, then the subcommands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class Json(click.ParamType[Any]):
    """A value written as JSON, or `-` for one on standard input: a command line takes 128 KB, and others can read it.
    Anything else is a usage error that names the place."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads the JSON."""
        try:
            text = self._standard_input(param, ctx) if value == "-" else value
            parsed = json.loads(text, parse_constant=_no_constant)
            json.dumps(parsed, ensure_ascii=False).encode()  # half of a surrogate pair is no text that can be sent
            return parsed
        except json.JSONDecodeError as error:
            self.fail(f"this is no JSON: {error.msg}, line {error.lineno} column {error.colno}", param, ctx)
        except (ValueError, RecursionError) as error:
            self.fail(f"this is no JSON that can be read: {error}", param, ctx)

    def _standard_input(self, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if sys.stdin is None:
            self.fail("standard input is closed", param, ctx)
        return sys.stdin.buffer.read()


class Pair(click.ParamType[tuple[str, str]]):
    """`key=value`; in the environment several are separated by commas."""

    name = "key=value"
    envvar_list_splitter = ","

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Splits at the first equals sign."""
        key, separator, text = str(value).partition("=")
        if not separator or not key.strip():
            self.fail(f"{value!r} is not key=value", param, ctx)
        return key.strip(), text


class Several(click.ParamType[tuple[str, ...]]):
    """Values separated by commas, in the environment as well as in one flag."""

    name = "a,b"
    envvar_list_splitter = ","

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Splits; spaces around a value and empty ones are dropped."""
        return tuple(part.strip() for part in str(value).split(",") if part.strip())


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not in the language")
