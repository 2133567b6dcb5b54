"""The local registry from the command line: real processes that share one file."""

import json
import math
import signal
import sqlite3
import uuid
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from mesh.cli.registry import describe
from sdk.registry import Registry, open_registry
from sdk.types import Endpoint, Instance, Service, Value
from tests.net import kept_address
from tests.processes import Done, run, run_and_read_one_line, start_only
from tests.sdk.registry.registryserver import RegistryServer

HELLO: dict[str, Any] = {
    "name": "hello",
    "version": "1.2",
    "metadata": {"team": "a"},
    "endpoints": [
        {
            "name": "Hello.Say",
            "request": {"name": "Request", "type": "Request", "values": [{"name": "name", "type": "str"}]},
            "response": None,
            "metadata": {"stream": "true"},
        }
    ],
    "nodes": [
        {"id": "hello-1", "address": "10.0.0.7:9090", "metadata": {"protocol": "grpc"}},
        {"id": "hello-2", "address": "[::1]:9090", "metadata": {}},
    ],
}


class Shelf:
    """A registry file, and the `micro` command that works on it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def micro(self, *arguments: str) -> Done:
        return run("micro", *arguments, env={"MICRO_REGISTRY_ADDRESS": str(self.path)})

    def prints(self, *arguments: str) -> str:
        done = self.micro(*arguments)
        assert (done.status, done.stderr) == (0, ""), done
        return done.stdout


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "registry.db")


def test_a_service_is_offered_listed_shown_and_taken_away_again(shelf: Shelf) -> None:
    assert shelf.prints("list", "services") == ""
    assert shelf.prints("register", "service", json.dumps(HELLO)) == "ok\n"
    other = {"name": "a", "nodes": [{"id": "a-1", "address": "127.0.0.1:1"}]}
    assert shelf.prints("register", "service", json.dumps(other)) == "ok\n"

    assert shelf.prints("list", "services") == "a\nhello\n"
    assert json.loads(shelf.prints("list", "services", "--output", "json")) == {"services": ["a", "hello"]}
    assert json.loads(shelf.prints("--output=json", "get", "service", "hello")) == {
        "services": [{**HELLO, "endpoints": [{**HELLO["endpoints"][0], "request": REQUEST}]}]
    }

    one = {**HELLO, "nodes": HELLO["nodes"][:1]}
    assert shelf.prints("deregister", "service", json.dumps(one)) == "ok\n"
    [record] = json.loads(shelf.prints("get", "service", "hello", "--output", "json"))["services"]
    assert [node["id"] for node in record["nodes"]] == ["hello-2"]

    assert shelf.prints("deregister", "service", json.dumps(HELLO)) == "ok\n"
    assert shelf.prints("list", "services") == "a\n"


REQUEST = {"name": "Request", "type": "Request", "values": [{"name": "name", "type": "str", "values": []}]}


def test_a_service_nobody_offers_is_an_error_that_names_it(shelf: Shelf) -> None:
    done = shelf.micro("get", "service", "nobody")
    assert (done.status, done.stdout) == (1, "")
    assert "'nobody'" in done.stderr


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ('{"name": "x", }', "line 1 column 15"),
        ('{"nodes": [{"id": "x-1", "address": "127.0.0.1:1"}]}', "name is missing"),
        ('{"name": "x", "nodes": [{"id": "x-1", "address": "nowhere"}]}', "'nowhere' is not host:port"),
        ('{"name": "x"}', "has no instance"),
        ("[]", "service is not an object"),
    ],
)
@pytest.mark.parametrize("command", ["register", "deregister"])
def test_a_record_that_is_none_is_a_usage_error_and_changes_nothing(
    shelf: Shelf, command: str, record: str, reason: str
) -> None:
    done = shelf.micro(command, "service", record)
    assert (done.status, done.stdout) == (2, "")
    assert reason in done.stderr
    assert not shelf.path.exists()


def test_a_check_that_makes_no_sense_is_refused_and_can_be_deregistered_all_the_same(shelf: Shelf) -> None:
    record = json.dumps({"name": "a", "nodes": [{"id": "a-1", "address": "h:1", "metadata": {"check": "smoke"}}]})
    done = shelf.micro("register", "service", record)
    assert done.status == 2
    assert "check is 'smoke': it takes tcp, grpc" in done.stderr
    done = shelf.micro("deregister", "service", record)
    assert (done.status, done.stdout) == (0, "ok\n")
    assert "note: there was none of these" in done.stderr


def test_a_record_may_come_from_standard_input_and_live_for_a_time(shelf: Shelf) -> None:
    labels = {f"label-{number}": "ü" * 100 for number in range(1000)}  # more than a command line takes
    record = {**HELLO, "metadata": labels, "options": {"ttl": 3600}, "ttl": 1}
    env = {"MICRO_REGISTRY_ADDRESS": str(shelf.path)}
    done = run("micro", "register", "service", "-", env=env, stdin=json.dumps(record))
    assert (done.status, done.stdout) == (0, "ok\n")
    assert "note: no record has 'ttl'" in done.stderr
    [found] = json.loads(shelf.prints("get", "service", "hello", "--output", "json"))["services"]
    assert found["metadata"] == labels
    with closing(sqlite3.connect(shelf.path)) as file:
        expiry = file.execute("SELECT max(expires) FROM instances").fetchone()[0]
    assert 0 < expiry < math.inf


def test_instances_are_taken_out_of_every_version_where_none_is_named(shelf: Shelf) -> None:
    for version in ("1", "2"):
        shelf.prints("register", "service", json.dumps({**HELLO, "version": version}))
    assert shelf.prints("deregister", "service", '{"name": "hello", "nodes": [{"id": "hello-1"}]}') == "ok\n"
    records = json.loads(shelf.prints("get", "service", "hello", "--output", "json"))["services"]
    assert [[node["id"] for node in record["nodes"]] for record in records] == [["hello-2"], ["hello-2"]]


def test_changes_are_printed_as_they_come_of_all_services_or_of_one(shelf: Shelf) -> None:
    env = {"MICRO_REGISTRY_ADDRESS": str(shelf.path)}
    a = json.dumps({"name": "a", "nodes": [{"id": "a-1", "address": "h:1", "metadata": {"protocol": "tcp"}}]})
    record = {"name": "b", "nodes": [{"id": "b-1", "address": "h:2"}]}
    shelf.prints("register", "service", a)
    shelf.prints("register", "service", json.dumps(record))
    with (
        start_only("micro", "watch", env=env) as all_,
        start_only("micro", "watch", "b", "--output=json", env=env) as b,
    ):
        all_.wait_for("create  a  latest  a-1  h:1  protocol=tcp")
        b.wait_for("create")
        shelf.prints("deregister", "service", json.dumps(record))
        all_.wait_for("delete  b  latest  b-1  h:2")
        b.wait_for("delete")
        assert [
            (json.loads(line)["action"], json.loads(line)["service"]["name"]) for line in b.stdout.splitlines()
        ] == [
            ("create", "b"),
            ("delete", "b"),
        ]
        assert all_.stop(signal.SIGINT)[0] == 130


def test_what_has_nothing_to_show_prints_json_where_that_is_asked_for(shelf: Shelf) -> None:
    record = '{"name": "a", "nodes": [{"id": "a-1", "address": "h:1"}]}'
    for command in ("register", "deregister"):
        assert shelf.prints(command, "service", record, "--output", "json") == "{}\n"
        assert shelf.micro(command, "service", record, "--output", "raw").status == 2


def test_a_watch_ends_with_its_reader_also_where_nothing_changes_any_more(shelf: Shelf) -> None:
    shelf.prints("register", "service", '{"name": "a", "nodes": [{"id": "a-1", "address": "h:1"}]}')
    done = run_and_read_one_line("micro", "watch", env={"MICRO_REGISTRY_ADDRESS": str(shelf.path)})
    assert done == (1, "create  a  latest  a-1  h:1\n", "")


def test_a_watch_waits_for_a_registry_that_went_away(tmp_path: Path) -> None:
    one = Service(name="a", instances=(Instance(id="a-1", address="h:1"),))
    path = str(tmp_path / "registry.db")

    async def write(change: Callable[[Registry], Awaitable[None]]) -> None:
        async with open_registry("sqlite", path) as store:
            await change(store)

    trio.run(write, lambda store: store.register(one))
    with kept_address() as address:
        env = {"MICRO_REGISTRY": f"service://{address}", "MICRO_PROXY": "", "MICRO_PROXY_ADDRESS": ""}
        with RegistryServer(address=address, store="sqlite", store_address=path) as registry:
            watch = start_only("micro", "watch", "--output=json", env=env)
            with watch:
                watch.wait_for('"create"')
                registry.stop()
                watch.wait_for("waiting, until it is back: ")
                trio.run(write, lambda store: store.deregister(one))
                with RegistryServer(address=address, store="sqlite", store_address=path):
                    watch.wait_for('"delete"')
                assert watch.stop(signal.SIGINT)[0] == 130
                assert [json.loads(line)["action"] for line in watch.stdout.splitlines()] == ["create", "delete"]


def test_a_watch_of_a_registry_that_is_not_there_ends_at_once() -> None:
    done = run("micro", "watch", "--registry=service://127.0.0.1:1")
    assert (done.status, done.stdout) == (1, "")
    assert "no registry answers" in done.stderr


def test_a_registry_of_an_unknown_kind_is_a_usage_error() -> None:
    done = run("micro", "list", "services", "--registry", "carrier-pigeon")
    assert done.status == 2
    assert "carrier-pigeon" in done.stderr


def test_a_registry_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("micro", "list", "services", "--registry_address", str(tmp_path / "file" / "registry.db"))
    assert done.status == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_record_is_described_for_a_person() -> None:
    nested = Value(name="Request", type="Request", values=(Value(name="name", type="str"),))
    service = Service(
        name="hello\x1b",
        version="1.2",
        metadata={"team": "a"},
        endpoints=(Endpoint(name="Hello.Say", request=nested, metadata={"stream": "true"}),),
        instances=(Instance(id="hello-1", address="10.0.0.7:9090", metadata={"protocol": "grpc", "native": "1"}),),
    )
    assert describe(service).splitlines() == [
        "service   hello\\x1b",
        "version   1.2",
        "metadata  team=a",
        "",
        "ID       ADDRESS        METADATA",
        "hello-1  10.0.0.7:9090  native=1,protocol=grpc",
        "",
        "endpoint  Hello.Say  stream=true",
        "  request   Request Request {",
        "              name str",
        "            }",
        "  response  any",
    ]


def test_with_mdns_a_service_is_offered_for_as_long_as_the_command_runs() -> None:
    env = {"MICRO_REGISTRY": "mdns", "MICRO_REGISTRY_ADDRESS": uuid.uuid4().hex}
    with start_only("micro", "register", "service", json.dumps(HELLO), env=env) as offering:
        offering.wait_for("until this command is ended")
        assert run("micro", "list", "services", env=env).stdout == "hello\n"
        assert offering.stop()[0] == 0
    assert run("micro", "list", "services", env=env).stdout == ""
