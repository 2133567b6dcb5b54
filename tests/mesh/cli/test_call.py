"""`micro call` and `micro stream`, from environment a to services in c, over two links."""

import json
import signal

import pytest

from tests.mesh.cli.conftest import Place
from tests.processes import run, run_and_read_one_line, start_only

THROUGH_NODE = {"MICRO_PROXY": "go.micro.network"}


@pytest.fixture
def a(line: dict[str, Place]) -> Place:
    """Where the caller is: its programs go through their node."""
    return Place(env=line["a"].env | THROUGH_NODE, node=line["a"].node)


def test_an_answer_is_indented_json(a: Place) -> None:
    assert a.prints("call", "greeter", "Greeter.Hello", '{"name": "Jöhn"}') == '{\n  "msg": "Hello Jöhn"\n}\n'


def test_raw_answers_are_on_one_line_and_text_goes_bare(a: Place) -> None:
    assert a.prints("call", "--output=raw", "greeter", "Greeter.Hello", '{"name": "x"}') == '{"msg": "Hello x"}\n'
    assert a.prints("call", "odd", "Odd.Echo", '"two\\nlines"', "--output", "raw") == "two\nlines\n"


@pytest.mark.parametrize("request_", ["null", "[1, 2.5]", '"text"', '{"a": {"b": [true, ""]}}', "{}"])
def test_any_json_goes_there_and_back(a: Place, request_: str) -> None:
    assert json.loads(a.prints("call", "odd", "Odd.Echo", request_)) == json.loads(request_)


def test_a_terminal_that_has_no_such_letters_is_shown_escapes(a: Place) -> None:
    text = '"\u20ac\U0001f600"'
    done = run("micro", "call", "odd", "Odd.Echo", text, env={**a.env, "PYTHONIOENCODING": "latin-1"})
    assert (done.status, done.stdout, done.stderr) == (0, '"\\u20ac\\ud83d\\ude00"\n', "")


def test_without_a_request_an_empty_record_is_sent(a: Place) -> None:
    assert a.prints("call", "odd", "Odd.Echo") == "{}\n"


def test_a_stream_that_is_silent_ends_with_its_reader(a: Place) -> None:
    done = run_and_read_one_line("micro", "stream", "odd", "Odd.Forever", env=a.env)
    assert done == (1, "1\n", "")


def test_messages_of_a_stream_are_lines(a: Place) -> None:
    assert a.prints("stream", "greeter", "Greeter.Count", '{"to": 3}') == '{"n": 0}\n{"n": 1}\n{"n": 2}\n'
    assert a.prints("stream", "greeter", "Greeter.Count", '{"to": 0}') == ""


def test_metadata_reaches_the_handler(a: Place) -> None:
    sent = json.loads(a.prints("stream", "odd", "Odd.Metadata", "--metadata", "Zone=b", "--metadata", "key=a=b"))
    assert (sent["zone"], sent["key"]) == ("b", "a=b")
    done = run("micro", "stream", "odd", "Odd.Metadata", env=a.env | {"MICRO_METADATA": "zone=c,key=d"})
    sent = json.loads(done.stdout)
    assert (sent["zone"], sent["key"]) == ("c", "d")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("call", "nobody", "X.Y"), "error calling nobody.X.Y: a: no service called 'nobody'"),
        (("stream", "nobody", "X.Y"), "error calling nobody.X.Y: a: no service called 'nobody'"),
        (("call", "greeter", "Greeter.Nope"), "error calling greeter.Greeter.Nope: greeter has no endpoint"),
        (("call", "odd", "Odd.Raise"), "RuntimeError: tea\\x1b[2Jpot"),
        (("call", "greeter", "Greeter.Count", '{"to": 2}'), "use `stream`"),
    ],
)
def test_an_error_is_one_line_that_names_the_call(a: Place, arguments: tuple[str, ...], error: str) -> None:
    done = a.micro(*arguments)
    assert (done.status, done.stdout) == (1, "")
    assert error in done.stderr
    assert done.stderr.startswith(f"error calling {arguments[1]}.{arguments[2]}: ")
    assert done.stderr.count("\n") == 1


def test_a_stream_that_breaks_has_printed_what_came_before(a: Place) -> None:
    done = a.micro("stream", "odd", "Odd.Breaks", "{}")
    assert (done.status, done.stdout) == (1, '{"n": 1}\n')
    assert "RuntimeError: broken" in done.stderr


@pytest.mark.parametrize("command", ["call", "stream"])
def test_what_is_no_json_is_not_sent(command: str) -> None:
    done = run("micro", command, "greeter", "Greeter.Hello", '{"name": John}')
    assert (done.status, done.stdout) == (2, "")
    assert "no JSON" in done.stderr
    assert "line 1 column 10" in done.stderr


def test_a_named_node_is_asked_whatever_the_registry_holds(line: dict[str, Place]) -> None:
    env = {"MICRO_PROXY_ADDRESS": line["a"].node.address("proxy")}
    assert json.loads(run("micro", "call", "greeter", "Greeter.Hello", '{"name": "x"}', env=env).stdout)
    wrong = {"MICRO_PROXY_ADDRESS": "127.0.0.1:1", "MICRO_PROXY": "127.0.0.1:1"}
    flag = ("--proxy_address", line["a"].node.address("proxy"))
    assert run("micro", "call", "greeter", "Greeter.Hello", '{"name": "x"}', *flag, env=wrong).status == 0


def test_without_a_node_the_local_registry_tells_where(line: dict[str, Place]) -> None:
    assert json.loads(line["c"].prints("call", "greeter", "Greeter.Hello", '{"name": "x"}')) == {"msg": "Hello x"}
    done = line["b"].micro("call", "greeter", "Greeter.Hello", '{"name": "x"}')
    assert done.status == 1
    assert "no service greeter in the registry (sqlite, " in done.stderr
    assert "`micro list services` shows" in done.stderr


def test_a_node_that_is_not_there_is_named() -> None:
    done = run("micro", "call", "greeter", "Greeter.Hello", env={"MICRO_PROXY": "127.0.0.1:1"})
    assert done.status == 1
    assert "127.0.0.1:1" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_stream_can_be_left(a: Place, number: signal.Signals, status: int) -> None:
    with start_only("micro", "stream", "odd", "Odd.Forever", "{}", env=a.env) as stream:
        stream.wait_for("1")
        ended, stderr = stream.stop(number)
        assert ended == status
        assert stderr.strip() == ""


def test_bytes_that_are_no_text_are_a_usage_error() -> None:
    done = run("micro", "call", "greeter", "Greeter.Hello", '{"name": "\udcff"}')
    assert done.status == 2
    assert "argument 4 is not UTF-8" in done.stderr
