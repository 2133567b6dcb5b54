"""`micro network`: the node as a process, and the commands that ask it."""

import json
import os
import re
import signal
import socket
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from mesh.cli import micro
from mesh.cli.network import network
from mesh.config import NodeConfig
from tests.mesh.cli.conftest import NODE, Place
from tests.processes import run, start, start_only
from tests.tunnel.transport.certificates import files

SLOW = """
import trio
from sdk import Service
slow = Service("slow")

@slow.handle("Slow.Down")
async def down(request, stream):
    await stream.send("started")
    await trio.sleep_forever()

slow.run()
"""

TOKEN = "open-sesame-1234"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment of the test's own."""
    return {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db"), "MICRO_NETWORK_TOKEN": TOKEN}


def ids(line: dict[str, Place]) -> dict[str, str]:
    return {name: place.node.address("id") for name, place in line.items()}


def cells(text: str) -> list[list[str]]:
    return [row.split() for row in text.splitlines()]


def test_the_defaults_in_the_help_are_those_of_the_node() -> None:
    config = {field.name: getattr(NodeConfig(), field.name) for field in fields(NodeConfig) if field.init}
    flags = {option.name: option for option in network.params}
    for name in ("address", "advertise", "token_file", "network", "resolver", "name", "advertise_strategy", "gateway"):
        assert flags[name].default == config[name]
    assert flags["proxy_address"].show_default == config["proxy_address"]  # type: ignore[attr-defined]
    links = {"tls_ca", "tls_cert", "tls_key", "via", "proxy_tls_cert", "proxy_tls_key"}
    limits = {"idle_timeout": "idle", "stall_timeout": "stall", "call_timeout": "call", "max_body": "max_body"}
    for name, limit in limits.items():
        assert flags[name].default == getattr(config["limits"], limit)
    apart = {"web_address", "data_dir", "proxy_token", "proxy_token_file", *links, *limits}
    assert set(flags) - apart == set(config) - {
        "registry", "registry_address", "tls", "proxy_tls", "proxies", "point_to_point", "alone", "proxy_tokens",
        "proxy_token_file", "limits",
    }  # fmt: skip


def test_every_flag_of_the_node_has_its_variable() -> None:
    assert {option.name: option.envvar for option in network.params} == {
        "address": "MICRO_NETWORK_ADDRESS",
        "advertise": "MICRO_NETWORK_ADVERTISE",
        "nodes": "MICRO_NETWORK_NODES",
        "token": "MICRO_NETWORK_TOKEN",
        "token_file": "MICRO_NETWORK_TOKEN_FILE",
        "admit": "MICRO_NETWORK_ADMIT",
        "network": "MICRO_NETWORK",
        "resolver": "MICRO_NETWORK_RESOLVER",
        "proxy_address": "MICRO_PROXY_ADDRESS",
        "tls_ca": "MICRO_TLS_CA",
        "tls_cert": "MICRO_TLS_CERT",
        "tls_key": "MICRO_TLS_KEY",
        "via": "MICRO_VIA",
        "proxy_tls_cert": "MICRO_PROXY_TLS_CERT",
        "proxy_tls_key": "MICRO_PROXY_TLS_KEY",
        "proxy_token": "MICRO_PROXY_TOKEN",
        "proxy_token_file": "MICRO_PROXY_TOKEN_FILE",
        "web_address": "MICRO_WEB_ADDRESS",
        "data_dir": "MICRO_DATA_DIR",
        "access_log": "MICRO_NETWORK_ACCESS_LOG",
        "name": "MICRO_NETWORK_NAME",
        "advertise_strategy": "MICRO_NETWORK_ADVERTISE_STRATEGY",
        "exports": "MICRO_NETWORK_EXPORT",
        "imports": "MICRO_NETWORK_IMPORT",
        "gateway": "MICRO_NETWORK_GATEWAY",
        "max_calls": "MICRO_NETWORK_MAX_CALLS",
        "idle_timeout": "MICRO_NETWORK_IDLE_TIMEOUT",
        "stall_timeout": "MICRO_NETWORK_STALL_TIMEOUT",
        "call_timeout": "MICRO_NETWORK_CALL_TIMEOUT",
        "max_body": "MICRO_NETWORK_MAX_BODY",
        "link_prices": "MICRO_NETWORK_LINK_PRICE",
        "listens": "MICRO_NETWORK_LISTEN",
    }


def test_nodes_are_listed_with_id_and_address(line: dict[str, Place]) -> None:
    heading, first, *others = cells(line["a"].prints("network", "nodes"))
    assert heading == ["ID", "ADDRESS"]
    assert first == [line["a"].node.address("id"), line["a"].node.address("link")]
    assert {tuple(other) for other in others} == {
        (line[name].node.address("id"), line[name].node.address("link")) for name in "bc"
    }
    listed = json.loads(line["a"].prints("network", "nodes", "--output", "json"))["nodes"]
    assert {(node["name"], node["id"]) for node in listed} == set(ids(line).items())


def test_routes_are_listed_and_chosen(line: dict[str, Place]) -> None:
    id = ids(line)
    heading, *rows = cells(line["a"].prints("network", "routes"))
    assert heading == ["SERVICE", "ADDRESS", "GATEWAY", "ROUTER", "NETWORK", "METRIC", "LINK"]
    assert [row[0] for row in rows] == ["go.micro.network", "greeter", "odd"]
    assert rows[1] == ["greeter", id["c"], id["b"], id["c"], "go.micro", rows[1][5], "network"]

    for choice in (["--service", "odd"], ["--link=local"], ["--gateway", id["b"], "--service", "odd"]):
        routes = json.loads(line["a"].prints("network", "routes", *choice, "--output", "json"))["routes"]
        assert [route["service"] for route in routes] == (["go.micro.network"] if "--link=local" in choice else ["odd"])
    assert cells(line["a"].prints("network", "routes", "--router", id["b"])) == [heading]
    [row] = cells(line["c"].prints("network", "routes", "--service", "greeter"))[1:]
    assert row[-1] == "local"


def test_services_are_one_to_a_line(line: dict[str, Place]) -> None:
    assert line["a"].prints("network", "services") == "go.micro.network\ngreeter\nodd\n"
    reply = json.loads(line["a"].prints("--output", "json", "network", "services"))
    assert reply == {"services": ["go.micro.network", "greeter", "odd"]}


def test_the_graph_shows_the_line(line: dict[str, Place]) -> None:
    rows = line["a"].prints("network", "graph").splitlines()
    assert [(len(row) - len(row.lstrip()), row.split()[:2]) for row in rows] == [
        (4 * depth, [name, ids(line)[name]]) for depth, name in enumerate("abc")
    ]
    root = json.loads(line["a"].prints("network", "graph", "--output", "json"))["root"]
    assert root["peers"][0]["peers"][0]["node"]["name"] == "c"


def test_connections_are_the_nodes_at_the_other_end_of_a_link(line: dict[str, Place]) -> None:
    assert cells(line["a"].prints("network", "connections")) == [
        ["NODE", "ADDRESS"],
        [ids(line)["b"], line["b"].node.address("link")],
    ]
    assert {row[0] for row in cells(line["b"].prints("network", "connections"))[1:]} == {ids(line)[n] for n in "ac"}


def test_the_status_says_who_the_node_is_and_how_its_seeds_are(line: dict[str, Place]) -> None:
    rows = line["a"].prints("network", "status").splitlines()
    status = {row.split()[0]: row.partition(" ")[2].strip() for row in rows}
    assert (status["id"], status["name"]) == (ids(line)["a"], "a")
    assert status["seeds"].startswith(f"address={line['b'].node.address('link')} state=linked")
    assert json.loads(line["a"].prints("network", "status", "--output", "json"))["network"] == "go.micro"


def test_a_node_can_be_told_to_connect(line: dict[str, Place], env: dict[str, str]) -> None:
    with start(*NODE, env=env | {"MICRO_NETWORK_TOKEN": "sesame"}) as node:
        assert run("micro", "network", "connect", line["c"].node.address("link"), env=env).stdout == "ok\n"
        node.wait_for("link with c")
        for _ in range(100):  # each look is a process of its own
            if "greeter" in run("micro", "network", "services", env=env).stdout:
                break
        assert "greeter" in run("micro", "network", "services", env=env).stdout
        refused = run("micro", "network", "connect", "nowhere", env=env)
        assert refused.status == 1
        assert "'nowhere'" in refused.stderr


def test_a_node_that_is_named_is_asked(line: dict[str, Place], env: dict[str, str]) -> None:
    proxy = line["b"].node.address("proxy")
    wrong = env | {"MICRO_PROXY_ADDRESS": "127.0.0.1:1"}
    for arguments, variables in (
        (("network", "status"), env | {"MICRO_PROXY_ADDRESS": proxy}),
        (("network", "status"), env | {"MICRO_PROXY": proxy}),
        (("network", "--proxy-address", proxy, "status"), wrong),
        (("network", "status", "--proxy_address", proxy), wrong),
    ):
        done = run("micro", *arguments, env=variables)
        assert "name             b\n" in done.stdout, done


@pytest.mark.parametrize("variables", [{}, {"MICRO_PROXY": "go.micro.network"}, {"MICRO_PROXY_ADDRESS": "127.0.0.1:1"}])
@pytest.mark.parametrize("command", ["nodes", "status"])
def test_where_no_node_runs_a_person_is_told_what_to_do(
    env: dict[str, str], command: str, variables: dict[str, str]
) -> None:
    done = run("micro", "network", command, env=env | variables)
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no node answers: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.count("tart one with `micro network`") == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_node_ends_in_good_order(env: dict[str, str], number: signal.Signals, status: int) -> None:
    with start(*NODE, "--name", "alone", env=env) as node:
        assert node.ready.startswith("ready micro network alone id=")
        assert all(int(node.address(kind).rpartition(":")[2]) for kind in ("link", "proxy"))
        assert run("micro", "list", "services", env=env).stdout == "go.micro.network\n"
        ended, stderr = node.stop(number)
        assert ended == status
        assert "Traceback" not in stderr
    assert run("micro", "list", "services", env=env).stdout == ""


def test_a_node_does_not_send_its_own_calls_through_a_proxy(env: dict[str, str]) -> None:
    with start(*NODE, env=env | {"MICRO_PROXY": "127.0.0.1:1"}) as node:
        assert node.stop()[0] == 0


@pytest.mark.parametrize("flag", ["--address", "--proxy-address"])
def test_a_port_that_is_taken_is_named(env: dict[str, str], flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(*NODE, flag, f"127.0.0.1:{port}", env=env)
    assert done.status == 1
    variable = {"--address": "MICRO_NETWORK_ADDRESS", "--proxy-address": "MICRO_PROXY_ADDRESS"}[flag]
    assert f"error: {flag} ({variable}): port {port} is taken: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("network", "--address (MICRO_NETWORK_ADDRESS)"),
        ("tunnel", "--address (MICRO_TUNNEL_ADDRESS)"),
        ("router", "--address (MICRO_ROUTER_ADDRESS)"),
    ],
)
def test_an_address_of_another_host_is_named_with_its_flag(env: dict[str, str], command: str, flag: str) -> None:
    proxy = () if command == "router" else ("--proxy-address", "127.0.0.1:0")
    elsewhere = "192.0.2.1:0"  # RFC 5737: nobody has it
    done = run("micro", command, *proxy, "--address", elsewhere, env={**env, "MICRO_TUNNEL_TOKEN": "sesame"})
    assert (done.status, done.stdout) == (2, "")
    assert f"error: {flag}: cannot listen on {elsewhere}: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        ((), {"MICRO_NETWORK_TOKEN": ""}, "MICRO_NETWORK_TOKEN"),
        (("--address", "nowhere"), {}, "MICRO_NETWORK_ADDRESS"),
        (("--nodes", "b:8085,c"), {}, "MICRO_NETWORK_NODES"),
        (("--resolver", "oracle"), {}, "MICRO_NETWORK_RESOLVER"),
        (("--resolver", "dns"), {}, "MICRO_NETWORK_NODES"),
        (("--resolver", "dns", "--nodes", "b:8085,a b"), {}, "MICRO_NETWORK_NODES"),
        (("--resolver", "dns://ns.example"), {}, "MICRO_NETWORK_RESOLVER"),
        (("--resolver", "https://"), {}, "MICRO_NETWORK_RESOLVER"),
        (("--registry", "carrier-pigeon"), {}, "carrier-pigeon"),
        (("--advertise-strategy", "some"), {}, "--advertise-strategy"),
        (("--export", "!"), {}, "MICRO_NETWORK_EXPORT"),
        (("--export", " , "), {}, "--export (MICRO_NETWORK_EXPORT) is empty"),
        ((), {"MICRO_NETWORK_EXPORT": ""}, "--export (MICRO_NETWORK_EXPORT) is empty"),
        ((), {"MICRO_NETWORK_IMPORT": ""}, "--import (MICRO_NETWORK_IMPORT) is empty"),
        (("--link-price", "far=much"), {}, "MICRO_NETWORK_LINK_PRICE"),
        ((), {"MICRO_NETWORK_LINK_PRICE": "near=1,far=-1"}, "far=-1"),
    ],
)
def test_a_node_that_must_not_start_says_which_setting_is_wrong(
    env: dict[str, str], arguments: tuple[str, ...], variables: dict[str, str], named: str
) -> None:
    done = run(*NODE, *arguments, env=env | variables)
    assert (done.status, done.stdout) == (2, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_the_routing_flags_reach_the_node_from_the_command_line_and_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs: list[NodeConfig] = []

    def node(config: NodeConfig, **_: object) -> SimpleNamespace:
        configs.append(config)
        return SimpleNamespace(reload=None)

    monkeypatch.setattr("mesh.node.Node", node)
    monkeypatch.setattr(sys.modules["mesh.cli.entry"], "run_until_signal", lambda node, ready, hangup: None)
    flags = ["--advertise_strategy=local", "--export", "public.*", "--export", "!public.x, y", "--import", "z",
             "--gateway", "edge", "--max-calls", "9", "--link-price", "far=5",
             "--link_price", "10.0.0.1:8085=6,*=7"]  # fmt: skip
    variables = {
        "MICRO_NETWORK_ADVERTISE_STRATEGY": "local",
        "MICRO_NETWORK_EXPORT": "public.*,!public.x,y",
        "MICRO_NETWORK_IMPORT": "z",
        "MICRO_NETWORK_GATEWAY": "edge",
        "MICRO_NETWORK_MAX_CALLS": "9",
        "MICRO_NETWORK_LINK_PRICE": "far=5, 10.0.0.1:8085=6,*=7",
    }
    for arguments, env in ((flags, {}), ([], variables), (flags, {**variables, "MICRO_NETWORK_GATEWAY": "other"})):
        done = CliRunner().invoke(micro, ["network", *arguments], env=env)
        assert done.exit_code == 0, done.output
        config = configs.pop()
        assert (config.advertise_strategy, config.gateway, config.max_calls) == ("local", "edge", 9)
        assert (config.exports, config.imports) == (("public.*", "!public.x", "y"), ("z",))
        assert config.link_prices == (("far", 5), ("10.0.0.1:8085", 6), ("*", 7))


def test_nodes_link_inside_tls_by_the_files_of_flags_and_environment(tmp_path: Path, env: dict[str, str]) -> None:
    tls = files(tmp_path, ca="trusted")
    variables = {"MICRO_TLS_CA": tls.ca, "MICRO_TLS_CERT": tls.cert, "MICRO_TLS_KEY": tls.key}
    other = {**env, **variables, "MICRO_REGISTRY_ADDRESS": str(tmp_path / "other.db")}
    with (
        start(*NODE, "--tls-ca", tls.ca, "--tls_cert", tls.cert, "--tls-key", tls.key, env=env) as node,
        start(*NODE, "--nodes", f"wss://{node.address('link')}/link", env=other) as second,
    ):
        for _ in range(100):  # each look is a process of its own
            asked = run("micro", "network", "connections", "--output", "json", env=other)
            if connections := json.loads(asked.stdout)["connections"]:
                break
        assert connections[0]["node"] == node.address("id")
        assert connections[0]["transport"] == "wss"
        assert second.stop()[0] == 0


def test_a_file_that_cannot_be_used_ends_the_start_with_the_name_of_its_flag(
    tmp_path: Path, env: dict[str, str]
) -> None:
    done = run(*NODE, "--tls-cert", str(tmp_path / "none.pem"), env=env)
    assert done.status == 2
    assert "--tls-cert (MICRO_TLS_CERT)" in done.stderr
    assert "ready" not in done.stderr
    done = run(*NODE, env=env | {"MICRO_TLS_KEY": "node.key"})
    assert done.status == 2
    assert "--tls-key (MICRO_TLS_KEY)" in done.stderr


def test_the_way_to_find_nodes_reaches_the_node_from_the_command_line_and_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs: list[NodeConfig] = []

    def node(config: NodeConfig, **_: object) -> SimpleNamespace:
        configs.append(config)
        return SimpleNamespace(reload=None)

    monkeypatch.setattr("mesh.node.Node", node)
    monkeypatch.setattr(sys.modules["mesh.cli.entry"], "run_until_signal", lambda node, ready, hangup: None)
    for resolver in ("static", "dns", "dns://10.0.0.53:53", "https://john:x@a.example/nodes?a=b"):
        for arguments, env in (
            (["--resolver", resolver, "--nodes", "a.example:1"], {"MICRO_NETWORK_RESOLVER": "registry"}),
            ([], {"MICRO_NETWORK_RESOLVER": resolver, "MICRO_NETWORK_NODES": "a.example:1"}),
        ):
            done = CliRunner().invoke(micro, ["network", *arguments], env=env)
            assert done.exit_code == 0, done.output
            config = configs.pop()
            assert (config.resolver, config.nodes) == (resolver, ("a.example:1",))


def test_a_list_that_cannot_be_fetched_is_told_once_and_in_the_status_without_its_password(env: dict[str, str]) -> None:
    arguments = [argument if argument != "static" else "http://john:abrakadabra@127.0.0.1:1/nodes" for argument in NODE]
    with start(*arguments, "--log-level", "debug", env=env | {"NO_PROXY": "*"}) as node:
        line = node.wait_for("does not say where nodes are")
        assert "http://127.0.0.1:1/nodes" in line
        status = run("micro", "network", "status", env=env).stdout
        assert re.search("^lookups +name=http://127.0.0.1:1/nodes state=failing nodes=0 error=", status, re.MULTILINE)
        printed = [*node.stop(), node.stdout, status]
    assert printed[0] == 0
    assert "abrakadabra" not in repr(printed)
    assert repr(printed).count("does not say where nodes are") == 1


def test_the_default_token_does_for_no_public_address(env: dict[str, str]) -> None:
    del env["MICRO_NETWORK_TOKEN"]
    done = run(*NODE, "--address", "203.0.113.7:8085", env=env)
    assert done.status == 2
    assert "MICRO_NETWORK_TOKEN" in done.stderr


def test_a_wrong_token_is_told_on_both_sides_and_shown_on_neither(tmp_path: Path, env: dict[str, str]) -> None:
    other = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "other.db"), "MICRO_NETWORK_TOKEN": "simsalabim-5678"}
    with start(*NODE, "--log-level", "debug", env=env) as node:
        link = node.address("link")
        with start(*NODE, "--log-level", "debug", "--nodes", link, env=other) as stranger:
            for side, peer in ((node, "127.0.0.1:"), (stranger, link)):
                line = side.wait_for("token or network name differs")
                assert peer in line
            assert cells(run("micro", "network", "connections", env=env).stdout) == [["NODE", "ADDRESS"]]
            status = run("micro", "network", "status", env=other).stdout
            assert re.search(f"address={link} state=(waiting|dialling) error=", status)
            processes = (
                b"".join(Path(f"/proc/{each.process.pid}/cmdline").read_bytes() for each in (node, stranger))
                if os.path.exists("/proc/self/cmdline")
                else b""
            )
            printed = [*node.stop(), *stranger.stop(), status, node.stdout, stranger.stdout, processes.decode()]
    assert printed[0] == printed[2] == 0
    assert TOKEN not in repr(printed)
    assert "simsalabim" not in repr(printed)


def test_a_seed_that_does_not_answer_is_tried_on_and_told_in_the_status(env: dict[str, str]) -> None:
    with start(*NODE, "--nodes", "127.0.0.1:1", env=env) as node:
        node.wait_for("127.0.0.1:1")
        for _ in range(100):  # each look is a process of its own
            [seed] = json.loads(run("micro", "network", "status", "--output", "json", env=env).stdout)["seeds"]
            if seed["attempts"] > 1:
                break
        assert seed["attempts"] > 1
        assert seed["address"] == "127.0.0.1:1"
        assert "refused" in seed["error"]
        assert node.stop()[0] == 0


def test_a_second_signal_ends_a_node_that_drains(env: dict[str, str]) -> None:
    with start(*NODE, env=env) as node, start("python", "-c", SLOW, env=env):
        through = env | {"MICRO_PROXY_ADDRESS": node.address("proxy")}
        for _ in range(100):
            if "slow" in run("micro", "network", "services", env=env).stdout:
                break
        with start_only("micro", "stream", "slow", "Slow.Down", "{}", env=through) as caller:
            caller.wait_for("started")
            node.send(signal.SIGTERM)
            for _ in range(100):  # it has left the registry, so it is draining
                if run("micro", "list", "services", env=env).stdout == "slow\n":
                    break
            assert node.process.poll() is None
            status, stderr = node.stop(signal.SIGTERM)
            assert status == -signal.SIGTERM
            assert "Traceback" not in stderr


def test_a_token_file_is_read_again_on_sighup_and_by_the_command(env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.touch(mode=0o600)
    file.write_text(f"{TOKEN}\n")
    del env["MICRO_NETWORK_TOKEN"]
    with start(*NODE, "--token-file", str(file), env=env) as node:
        file.write_text(f"a-new-secret\n{TOKEN}\n")
        node.send(signal.SIGHUP)
        node.wait_for("reloaded: the number of tokens accepted is 2")
        file.write_text("a-new-secret\n")
        assert run("micro", "network", "reload", env=env) == (0, "tokens accepted now: 1\n", "")
        file.write_text("")
        done = run("micro", "network", "reload", env=env)
        assert (done.status, done.stdout) == (1, "")
        assert f"--token-file (MICRO_NETWORK_TOKEN_FILE): {file} holds no token" in done.stderr
        node.send(signal.SIGHUP)
        node.wait_for("nothing was reloaded, all stays as it was")
        with start(
            *NODE,
            env=env | {"MICRO_NETWORK_TOKEN": "a-new-secret"},
        ) as other:
            run("micro", "network", "connect", node.address("link"), "--proxy-address", other.address("proxy"), env=env)
            other.wait_for("link with")
        status, stderr = node.stop()
        assert status == 0
    for secret in (TOKEN, "a-new-secret"):
        assert secret not in stderr


def test_reload_says_what_was_read_by_the_files_of_flags_and_variables(env: dict[str, str], tmp_path: Path) -> None:
    tls, tokens, shown = files(tmp_path, ca="trusted"), tmp_path / "tokens", tmp_path / "shown"
    del env["MICRO_NETWORK_TOKEN"]
    for file in (tokens, shown):
        file.touch(mode=0o600)
        file.write_text(f"{TOKEN}\na-new-secret\n")
    flags = ("--token-file", str(tokens), "--tls-ca", tls.ca, "--tls-cert", tls.cert, "--tls-key", tls.key)
    with start(*NODE, *flags, env=env | {"MICRO_PROXY_TOKEN_FILE": str(shown)}) as node:
        shown.write_text("a-new-secret\n")
        node.send(signal.SIGHUP)
        both = "the number of tokens accepted is 2; the number of proxy tokens accepted is 1"
        node.wait_for(f"reloaded: {both}; certificates and keys are those in {tls.ca}, {tls.cert}, {tls.key}")
        done = run("micro", "network", "reload", env=env)
        assert (done.status, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "tokens accepted now: 2", "proxy tokens accepted now: 1",
            *(f"read again: {file}" for file in (tls.ca, tls.cert, tls.key)),
        ]  # fmt: skip
        assert TOKEN not in node.stop()[1]


def test_without_a_token_file_sighup_says_that_there_is_nothing_to_reload(env: dict[str, str]) -> None:
    with start(*NODE, env=env) as node:
        node.send(signal.SIGHUP)
        said = node.wait_for("nothing to reload: this node was started without --token-file (MICRO_NETWORK_TOKEN_FILE)")
        assert (
            ", --tls-cert (MICRO_TLS_CERT), --proxy-token-file (MICRO_PROXY_TOKEN_FILE) and --proxy-tls-cert " in said
        )
        done = run("micro", "network", "reload", env=env)
        assert (done.status, done.stdout) == (1, "")
        assert "nothing to reload" in done.stderr
        assert node.stop(signal.SIGINT)[0] == 130
