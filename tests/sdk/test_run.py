import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sdk.run import GRACE_SECONDS, LEAVE_SECONDS
from tests.processes import Running, run, start, start_only

SLOW = """
import threading, time, trio
from sdk import Service

slow = Service("slow")

@slow.handle("Slow.Wait")
async def wait(request):
    print("waiting", flush=True)
    try:
        await trio.sleep(request["seconds"])
    finally:
        print("ended", flush=True)
    return "done"

@slow.handle("Slow.Block")
async def block(request):
    print("waiting", flush=True)
    time.sleep(60)

slow.run()
timers = [each for each in threading.enumerate() if isinstance(each, threading.Timer) and not each.finished.is_set()]
print("after run", timers, flush=True)
"""

SOON = 20.0
"""Seconds that no end may take, and less than any handler above does."""

CALL = """
import sys, json, trio
from sdk import Client

async def main():
    async with Client(proxy=sys.argv[1]) as client:
        with trio.move_on_after(50):
            print(await client.call("slow", sys.argv[2], json.loads(sys.argv[3])))

trio.run(main)
"""


@pytest.fixture
def registry(tmp_path: Path) -> Mapping[str, str]:
    return {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}


@pytest.fixture
def slow(registry: Mapping[str, str]) -> Iterator[Running]:
    with start("python", "-c", SLOW, env=registry) as service:
        yield service


def call(service: Running, endpoint: str, request: str) -> Running:
    return start_only("python", "-c", CALL, service.ready.split()[2], endpoint, request)


def test_it_says_where_it_listens(slow: Running) -> None:
    assert re.fullmatch(r"ready slow 127\.0\.0\.1:\d+", slow.ready)


def test_sigterm_lets_open_calls_end_and_the_program_goes_on_after_run(slow: Running) -> None:
    with call(slow, "Slow.Wait", '{"seconds": 1}') as caller:
        slow.wait_for("waiting")
        status, stderr = slow.stop(signal.SIGTERM)
        assert caller.wait()[0] == 0
        assert caller.stdout == "done\n"
    assert (status, "Traceback" in stderr) == (0, False)
    assert slow.stdout == "waiting\nended\nafter run []\n"


def test_an_interrupt_ends_it_within_two_seconds_whatever_is_open(slow: Running) -> None:
    with call(slow, "Slow.Wait", '{"seconds": 50}'):
        slow.wait_for("waiting")
        status, stderr = slow.stop(signal.SIGINT, patience=SOON)
    assert (status, "Traceback" in stderr) == (130, False)
    # It is the process itself that ends by then, by its own clock: how long that takes here is up to the machine.
    assert GRACE_SECONDS[signal.SIGINT] + LEAVE_SECONDS < 2


def test_an_idle_service_is_interrupted_without_another_word_than_that(slow: Running) -> None:
    status, stderr = slow.stop(signal.SIGINT, patience=SOON)
    assert status == 130
    assert re.fullmatch(r"ready slow .*\n.* INFO sdk\.run: SIGINT: slow stops; open calls have 0\.8 s\n", stderr)


def test_a_second_signal_ends_it_at_once(slow: Running) -> None:
    with call(slow, "Slow.Wait", '{"seconds": 50}'):
        slow.wait_for("waiting")
        slow.send(signal.SIGTERM)
        slow.wait_for("slow stops")
        status, stderr = slow.stop(signal.SIGTERM, patience=SOON)
    assert status == -signal.SIGTERM
    assert "Traceback" not in stderr


def test_a_handler_that_blocks_the_event_loop_does_not_hold_the_process(slow: Running) -> None:
    with call(slow, "Slow.Block", "{}"):
        slow.wait_for("waiting")
        status, stderr = slow.stop(signal.SIGINT, patience=SOON)
    assert (status, "Traceback" in stderr) == (130, False)


def test_a_port_that_is_taken_is_named_in_one_line(slow: Running, registry: Mapping[str, str]) -> None:
    address = slow.ready.split()[2]
    done = run("python", "-c", SLOW, "--address", address, env=registry)
    assert done.status == 1
    assert re.fullmatch(
        rf"slow: --server-address \(MICRO_SERVER_ADDRESS\): port {address.rpartition(':')[2]} is taken: .*\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--register_ttl", "soon"], "--register-ttl (MICRO_REGISTER_TTL): 'soon'"),
        (["--register-ttl=10", "--register-interval=20"], "MICRO_REGISTER_INTERVAL"),
        (["--registry", "nowhere"], "nowhere"),
        (["--no-such-flag"], "no-such-flag"),
        (["--address", "1.2.3.4:0"], "1.2.3.4:0"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_line_and_status_two(arguments: list[str], named: str) -> None:
    done = run("python", "-c", SLOW, *arguments)
    assert done.status == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_beat_variables_in_both_spellings(tmp_path: Path) -> None:
    path = tmp_path / "flag.db"
    environment = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "variable.db"), "MICRO_SERVER_NAME": "variable"}
    with start("python", "-c", SLOW, "--server_name", "flag", f"--registry_address={path}", env=environment) as service:
        assert service.ready.startswith("ready flag ")
        assert path.exists()
    with start("python", "-c", SLOW, "--registry-address", str(path), env=environment) as service:
        assert service.ready.startswith("ready variable ")
    assert not (tmp_path / "variable.db").exists()


def test_help_names_the_variables() -> None:
    done = run("python", "-c", SLOW, "--help", env={"COLUMNS": "200"})
    assert done.status == 0
    for variable in ("MICRO_SERVER_NAME", "MICRO_SERVER_ADDRESS", "MICRO_REGISTER_TTL", "MICRO_LOG_LEVEL"):
        assert variable in done.stdout


def test_importing_the_sdk_loads_nothing_that_is_only_needed_on_use() -> None:
    wanted = "click sqlite3 grpc google.protobuf cryptography networkx structlog httpx dns"
    done = run("python", "-c", f"import sys, sdk; print([name for name in {wanted.split()} if name in sys.modules])")
    assert done.stdout == "[]\n"
