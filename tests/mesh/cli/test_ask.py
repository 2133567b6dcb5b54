"""The commands about routing, asked of real nodes in a line: a - b - c, with services at c."""

import json
import re
import signal
import textwrap
from pathlib import Path

import pytest

from tests.mesh.cli.conftest import NODE, Place
from tests.processes import run, run_and_read_one_line, start, start_only

ALONE = {"MICRO_REGISTRY": "memory", "MICRO_NETWORK_TOKEN": "sesame"}
"""The environment of a node that shares it with nobody."""


def test_why_shows_the_path_and_what_it_costs(line: dict[str, Place]) -> None:
    text = line["a"].prints("network", "why", "greeter")
    assert text.startswith("greeter: 1 candidate, of which 1 takes calls")
    # A link costs 1, and what is measured besides on a machine that has other things to do.
    link = r"1(?: \+ \d+ for (?:delay|loss))*"
    assert re.search(rf"^    path      b > c, cost \d+: a-b {link}; b-c {link}$", text, re.MULTILINE), text
    assert "spare     none" in text
    reply = json.loads(line["a"].prints("network", "why", "greeter", "--output", "json"))
    [candidate] = reply["candidates"]
    assert (candidate["name"], candidate["chosen"], candidate["names"]) == ("c", True, ["b", "c"])
    here = line["c"].prints("network", "why", "greeter")
    assert "chosen: instances of this environment come first" in here


def test_why_of_what_nobody_offers_says_so(line: dict[str, Place]) -> None:
    done = line["a"].micro("network", "why", "nothing")
    assert done.status == 1
    assert done.stderr == "error: nobody offers 'nothing' here or within three links; see `micro network services`\n"


def test_why_of_what_only_a_gateway_may_know_says_so(line: dict[str, Place]) -> None:
    with start(*NODE, "--gateway", "far", env=ALONE) as alone:
        asked = ("network", "why", "nothing", "--proxy-address", alone.address("proxy"))
        done = line["a"].micro(*asked)
        assert (done.status, done.stdout) == (1, "")
        assert done.stderr == (
            "error: nobody offers 'nothing' here or within three links: calls would go to the gateway far, which "
            "cannot be reached at the moment; see `micro network services`\n"
        )
        done = line["a"].micro(*asked, "--output", "json")
        assert (done.status, json.loads(done.stdout)["gateway"]) == (1, {"node": "far", "reachable": False})


def test_links_show_how_they_are(line: dict[str, Place]) -> None:
    heading, *rows = [row.split() for row in line["b"].prints("network", "links").splitlines()]
    assert heading[:5] == ["NODE", "NAME", "ADDRESS", "TRANSPORT", "STATE"]
    assert {row[1] for row in rows} == {"a", "c"}
    assert {(row[3], row[4], row[6]) for row in rows} == {("tcp", "up", "ms")}
    assert heading[-3:] == ["QUEUED", "COST", "UP"]
    assert {(row[-4], row[-1]) for row in rows} == {("B", "s")}
    # What they cost, lose and have queued is measured: it is as good as the machine is idle.
    assert all(row[-5].isdigit() and int(row[-3]) >= 1 for row in rows)
    records = json.loads(line["b"].prints("network", "links", "--output", "json"))["links"]
    assert all(record["cost"] >= 1 and 0 <= record["loss"] < 1 and record["queued"] >= 0 for record in records)
    assert all(record["bytes_in"] > 0 and record["up_s"] > 0 for record in records)


def test_the_best_routes_can_be_asked_for(line: dict[str, Place]) -> None:
    reply = json.loads(line["a"].prints("network", "routes", "--strategy", "best", "--output", "json"))
    assert {route["service"] for route in reply["routes"]} == {"go.micro.network", "greeter", "odd"}
    local = line["a"].prints("network", "routes", "--strategy", "local")
    assert "greeter" not in local


@pytest.mark.parametrize("form", ["table", "json"])
def test_routes_are_followed_until_ctrl_c(line: dict[str, Place], form: str) -> None:
    place = line["a"]
    command = ("micro", "network", "routes", "--watch", "--service", "late", "--output", form)
    with start_only(*command, env=place.env) as watching:
        with start("python", "-c", LATE, env=line["c"].env) as late:
            came = watching.wait_for("late")
            late.stop()
        gone = watching.wait_for("delete" if form == "json" else "- ")
        if form == "json":
            assert json.loads(came)["change"] == "create"
            assert json.loads(gone)["route"]["service"] == "late"
        else:
            assert came.startswith("+ late")
            assert gone.startswith("- late")
        status, stderr = watching.stop(signal.SIGINT)
        assert status == 130
        assert "Traceback" not in stderr


def test_who_follows_routes_stops_with_the_reader(line: dict[str, Place]) -> None:
    done = run_and_read_one_line("micro", "network", "routes", "--watch", "--service", "odd", env=line["a"].env)
    assert (done.status, done.stdout[:5], done.stderr) == (1, "+ odd", "")


FOREIGN = """
    from sdk import Service
    node = Service("go.micro.network")

    @node.handle
    class Network:
        async def nodes(self, request):
            return {"nodes": [{"id": "v2"}], "more": 1}

        async def links(self, request):
            return {"links": [{"node": "v2"}]}

        async def status(self, request):
            return ["up"]

        async def why(self, request):
            return {}

        async def watch(self, request, stream):
            await stream.send({"route": None})

    node.run()
"""


def test_a_node_of_another_version_is_shown_as_far_as_it_is_understood(tmp_path: Path) -> None:
    env = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}
    with start("python", "-c", textwrap.dedent(FOREIGN), env=env):
        assert run("micro", "network", "nodes", env=env).stdout == "ID  ADDRESS\nv2\n"
        for words in (("links",), ("status",), ("why", "x"), ("routes", "--watch")):
            done = run("micro", "network", *words, env=env)
            assert (done.status, done.stdout) == (1, ""), done
            assert "error: the node answered what this command cannot show" in done.stderr
            assert "Traceback" not in done.stderr
        for command in ("links", "status"):
            done = run("micro", "network", command, "--output", "json", env=env)
            assert (done.status, done.stderr) == (0, "")
            json.loads(done.stdout)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (signal.SIGTERM, "error: the node ended the watch: it is stopping\n"),
        (signal.SIGKILL, "error: the node is gone: "),
    ],
)
def test_who_follows_routes_is_told_when_the_node_ends(number: signal.Signals, says: str) -> None:
    with start(*NODE, env=ALONE) as alone:
        command = ("micro", "network", "routes", "--watch", "--proxy-address", alone.address("proxy"))
        with start_only(*command, env=ALONE) as watching:
            watching.wait_for("+ go.micro.network")
            alone.stop(number, patience=10)
            status, stderr = watching.wait()
            assert status == 1
            assert stderr.startswith(says)


LATE = """
from sdk import Service
late = Service("late")

@late.handle("Late.Do")
async def do(request):
    return request

late.run()
"""
