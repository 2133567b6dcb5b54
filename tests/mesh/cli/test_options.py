"""Flags: in both spellings, before and after the subcommand, over the environment."""

import json

import click
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from mesh.cli.options import EVERYWHERE, Command, Group, Json, Pair, Several, dashes, output, settings


@click.group(cls=Group, context_settings={"token_normalize_func": dashes})
def program() -> None:
    pass


@program.group()
def show() -> None:
    pass


@show.command("settings")
@click.option("--own-flag", default="")
@click.option("--know", default="table,json")
def show_settings(own_flag: str, know: str) -> None:
    now = settings()
    click.echo(f"{now.registry}|{now.registry_address}|{now.log_level}|{own_flag}|{output(know.split(','))}")


def run(*arguments: str, **env: str) -> str:
    result = CliRunner().invoke(program, arguments, env=env)
    return result.output if result.exit_code == 0 else f"exit {result.exit_code}: {result.output}"


@pytest.mark.parametrize("spelling", ["--registry-address", "--registry_address"])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("form", ["{}=x", "{} x"])
def test_a_flag_of_every_command_may_stand_anywhere_in_either_spelling(spelling: str, place: int, form: str) -> None:
    words = ["show", "settings"]
    assert run(*words[:place], *form.format(spelling).split(" "), *words[place:]) == "|x|||table\n"


def test_a_flag_of_one_command_has_both_spellings_too() -> None:
    assert run("show", "settings", "--own_flag", "under_score") == run("show", "settings", "--own-flag", "under_score")
    assert run("show", "settings", "--own_flag", "under_score") == "|||under_score|table\n"


def test_the_last_flag_wins_and_any_flag_wins_over_the_variable() -> None:
    env = {"MICRO_REGISTRY": "from-env", "MICRO_REGISTRY_ADDRESS": "place"}
    assert run("show", "settings", **env) == "from-env|place|||table\n"
    assert run("--registry", "before", "show", "settings", **env) == "before|place|||table\n"
    assert run("--registry", "before", "show", "settings", "--registry", "after", **env) == "after|place|||table\n"


def test_an_unknown_log_level_is_a_usage_error() -> None:
    assert run("--log-level", "loud", "show", "settings").startswith("exit 2")


def test_the_help_of_each_command_lists_the_flags_of_every_command_with_their_variables() -> None:
    for words in ([], ["show"], ["show", "settings"]):
        text = run(*words, "--help")
        assert "Options of every command" in text
        for option in EVERYWHERE:
            assert option.opts[0] in text
            assert str(option.envvar) in text


def test_an_output_that_does_not_fit_is_refused_as_a_flag_and_passed_over_as_a_variable() -> None:
    assert run("--output", "json", "show", "settings").endswith("|json\n")
    assert run("show", "settings", MICRO_OUTPUT="json").endswith("|json\n")
    assert run("show", "settings", MICRO_OUTPUT="raw").endswith("|table\n")
    refused = run("show", "settings", "--output", "raw")
    assert refused.startswith("exit 2")
    assert "it knows table and json" in refused
    assert run("show", "settings", "--know", "json,raw", MICRO_OUTPUT="table").endswith("|json\n")


def test_a_command_on_its_own_has_the_flags_as_well() -> None:
    @click.command(cls=Command)
    def alone() -> None:
        click.echo(settings().registry)

    assert CliRunner().invoke(alone, ["--registry", "memory"]).output == "memory\n"


def convert_json(text: str) -> object:
    return Json().convert(text, None, None)


def test_json_is_read() -> None:
    assert convert_json('{"name": ["John", 1, null]}') == {"name": ["John", 1, None]}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"name": }', "line 1 column 10"),
        ('{\n  "name" "x"}', "line 2 column 10"),
        ("", "line 1 column 1"),
        ("{} trailing", "line 1 column 4"),
        ("name=John", "line 1 column 1"),
    ],
)
def test_what_is_no_json_is_a_usage_error_that_names_the_place(text: str, place: str) -> None:
    with pytest.raises(click.BadParameter, match=place) as caught:
        convert_json(text)
    assert caught.value.exit_code == 2


@given(st.text())
@example("[" * 100_000)
@example("9" * 10_000)
@example("NaN")
@example('{"a": -Infinity}')
@example('"\\ud800"')  # half of a surrogate pair, which no wire carries
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    try:
        value = convert_json(text)
    except click.BadParameter:
        return
    assert json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) == value


def test_a_pair_is_split_at_its_first_equals_sign() -> None:
    assert Pair().convert("key=a=b", None, None) == ("key", "a=b")
    assert Pair().convert("key=", None, None) == ("key", "")


@pytest.mark.parametrize("text", ["", "key", "=value", " =value"])
def test_what_is_no_pair_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not key=value"):
        Pair().convert(text, None, None)


@click.command(context_settings={"token_normalize_func": dashes})
@click.option("--take-it", type=Several(), multiple=True, envvar="TAKE_IT")
def take(take_it: tuple[tuple[str, ...], ...]) -> None:
    click.echo(repr([word for words in take_it for word in words]))


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--take-it", "a b", "--take_it", "!c.*"], {}),
        (["--take-it", "a b, !c.*,,"], {}),
        ([], {"TAKE_IT": "a b, !c.*,"}),
        (["--take-it=a b,!c.*"], {"TAKE_IT": "d"}),
    ],
)
def test_several_values_may_stand_in_one_flag_in_several_or_in_the_variable(
    arguments: list[str], env: dict[str, str]
) -> None:
    assert CliRunner().invoke(take, arguments, env=env).output == "['a b', '!c.*']\n"
