"""`micro health` and `micro stats`, of instances in the local registry and through a node."""

import json
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.mesh.cli.conftest import Place
from tests.processes import Running, run, start

SICK = """
    from sdk import Service
    service = Service("patient", version="2")

    @service.check("disk")
    def disk():
        pass

    @service.check("database")
    async def database():
        raise ConnectionError("the database\\x1b[2J is away")

    @service.handle
    class Patient:
        async def ask(self, request):
            return "ouch"

    service.run()
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"MICRO_REGISTRY_ADDRESS": str(tmp_path_factory.mktemp("debug") / "r.db")}


@pytest.fixture(scope="module")
def greeters(env: dict[str, str]) -> Iterator[list[Running]]:
    with ExitStack() as stack:
        yield [stack.enter_context(start("python", "examples/greeter.py", env=env)) for _ in range(2)]


def test_every_instance_of_the_registry_is_asked_for_its_health(env: dict[str, str], greeters: list[Running]) -> None:
    done = run("micro", "health", "greeter", env=env)
    assert (done.status, done.stderr) == (0, "")
    heading, *rows = done.stdout.splitlines()
    assert heading.split() == ["INSTANCE", "VERSION", "STATUS", "CHECKS"]
    assert len({row.split()[0] for row in rows}) == 2
    assert all(row.split()[1:] == ["latest", "serving"] for row in rows)


def test_one_instance_is_picked_by_its_id_or_address(env: dict[str, str], greeters: list[Running]) -> None:
    told = json.loads(run("micro", "health", "greeter", "--output", "json", env=env).stdout)["instances"]
    wanted = told[1]["instance"]
    [one] = json.loads(run("micro", "health", "greeter", "--output=json", "--instance", wanted, env=env).stdout)[
        "instances"
    ]
    assert one == told[1] == {**one, "status": "serving", "checks": {}, "service": "greeter"}
    address = greeters[0].ready.split()[-1]
    [one] = json.loads(run("micro", "stats", "greeter", "--output=json", "--instance", address, env=env).stdout)[
        "instances"
    ]
    assert one["instance"] in [each["instance"] for each in told]
    done = run("micro", "health", "greeter", "--instance", "greeter-x", env=env)
    assert done.status == 1
    assert "no instance 'greeter-x' of 'greeter'" in done.stderr


def test_stats_tell_what_each_instance_has_done(env: dict[str, str], greeters: list[Running]) -> None:
    for _ in range(3):
        assert run("micro", "call", "greeter", "Greeter.Hello", '{"name": "x"}', env=env).status == 0
    assert run("micro", "call", "greeter", "Greeter.Hello", "{}", env=env).status == 1
    done = run("micro", "stats", "greeter", "--output", "json", env=env)
    instances = json.loads(done.stdout)["instances"]
    hello = [each["endpoints"]["Greeter.Hello"] for each in instances]
    assert (sum(each["requests"] for each in hello), sum(each["errors"] for each in hello)) == (4, 1)
    assert all(each["memory"] > 1_000_000 for each in instances)
    done = run("micro", "stats", "greeter", env=env)
    assert (done.status, done.stderr) == (0, "")
    first, second = done.stdout.split("\n\n")
    assert first.split("\n")[0].split() == [
        "INSTANCE", "VERSION", "UP", "MEMORY", "TASKS", "OPEN", "REQUESTS", "ERRORS", "PROBLEM",
    ]  # fmt: skip
    assert len(second.splitlines()) == 1 + 2 * 2
    assert " ms" in second


def test_a_service_that_is_not_well_says_why_and_the_status_tells_scripts(env: dict[str, str]) -> None:
    with start("python", "-c", textwrap.dedent(SICK), env=env):
        done = run("micro", "health", "patient", env=env)
        assert done.status == 1
        assert "not serving" in done.stdout
        assert "disk: ok, database: ConnectionError: the database\\x1b[2J is away" in done.stdout
        assert run("micro", "stats", "patient", env=env).status == 0


def test_an_instance_that_is_gone_is_shown_and_the_others_too(env: dict[str, str], greeters: list[Running]) -> None:
    ghost = {"name": "greeter", "version": "old", "nodes": [{"id": "ghost", "address": "127.0.0.1:1"}]}
    assert run("micro", "register", "service", json.dumps(ghost), env=env).status == 0
    try:
        done = run("micro", "health", "greeter", env=env)
        assert done.status == 1
        [row] = [row for row in done.stdout.splitlines() if row.startswith("ghost")]
        assert "no answer" in row
        assert "127.0.0.1:1" in row
        assert done.stdout.count(" serving") == 2
        done = run("micro", "stats", "greeter", env=env)
        assert done.status == 1
        assert "connection refused" in done.stdout
    finally:
        run("micro", "deregister", "service", json.dumps(ghost), env=env)


GUARDED = """
    from sdk import Service
    from sdk.wrappers.bearer import checking_token
    Service("guarded", wrappers=[checking_token("sesame")]).run()
"""


def test_what_speaks_neither_frames_nor_grpc_is_not_waited_for_and_grpc_is_asked_as_such(
    greeters: list[Running], tmp_path: Path
) -> None:
    env = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "r.db")}
    address = greeters[0].address()  # which answers gRPC as well, where a record knows of nothing else
    for id, protocol in (("w-1", "http"), ("w-2", "grpc")):
        node = {"id": id, "address": address, "metadata": {"protocol": protocol}}
        record = json.dumps({"name": "greeter", "nodes": [node]})
        assert run("micro", "register", "service", record, env=env).status == 0
    for command in ("health", "stats"):
        done = run("micro", command, "greeter", "--output", "json", env=env)
        assert (done.status, done.stderr) == (1, "")
        web, grpc = json.loads(done.stdout)["instances"]
        assert web["instance"] == "w-1"
        assert web["error"].startswith("it speaks http only: ")
        assert grpc["service"] == "greeter"


def test_who_may_not_call_the_service_may_not_ask_for_its_health(env: dict[str, str]) -> None:
    with start("python", "-c", textwrap.dedent(GUARDED), env=env):
        done = run("micro", "health", "guarded", env=env)
        assert (done.status, "no answer" in done.stdout) == (1, True)
        token = {"MICRO_METADATA": "authorization=Bearer sesame"}
        assert run("micro", "health", "guarded", env=env | token).status == 0
        assert run("micro", "stats", "guarded", env=env | token).status == 0


@pytest.mark.parametrize("command", ["health", "stats"])
def test_a_service_that_is_not_there_is_named(tmp_path: Path, command: str) -> None:
    done = run("micro", command, "nobody", env={"MICRO_REGISTRY_ADDRESS": str(tmp_path / "r.db")})
    assert (done.status, done.stdout) == (1, "")
    assert "no service 'nobody' in the local registry" in done.stderr
    assert "--proxy-address (MICRO_PROXY_ADDRESS)" in done.stderr  # where services that are attached are found


def test_through_a_node_one_instance_answers(line: dict[str, Place]) -> None:
    a = Place(env=line["a"].env | {"MICRO_PROXY": "go.micro.network"}, node=line["a"].node)
    assert " serving" in a.prints("health", "greeter")
    assert "Greeter.Hello" in a.prints("stats", "greeter")
    assert " serving" in a.prints("health", "greeter", "--node", "c")
    done = a.micro("health", "greeter", "--node", "b")
    assert done.status == 1
    assert done.stderr.startswith("error calling greeter.Debug.Health: ")


def test_flags_that_do_not_fit_are_usage_errors(line: dict[str, Place]) -> None:
    done = run("micro", "health", "greeter", "--instance", "x", env={"MICRO_PROXY": "127.0.0.1:1"})
    assert (done.status, done.stdout) == (2, "")
    assert "see --node" in done.stderr
    done = run("micro", "health", "greeter", "--node", "x")
    assert (done.status, done.stdout) == (2, "")
    assert "MICRO_PROXY" in done.stderr
