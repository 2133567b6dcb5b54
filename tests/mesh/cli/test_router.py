import json
import signal
import socket
from pathlib import Path

from tests.processes import run, start


def test_the_table_alone_is_found_in_the_registry_and_follows_it(tmp_path: Path) -> None:
    env = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}
    with start("micro", "router", "--address", "127.0.0.1:0", "--network", "mine", env=env) as router:
        with start("python", "examples/greeter.py", env=env):
            for _ in range(100):  # each look is a process of its own
                done = run("micro", "call", "go.micro.router", "Router.Lookup", '{"service": "greeter"}', env=env)
                routes = json.loads(done.stdout)["routes"]
                if routes:
                    break
        assert [(route["network"], route["router"]) for route in routes] == [("mine", router.address("id"))]
        put = run("micro", "call", "go.micro.router", "Table.Create", '{"service": "z", "address": "z:1"}', env=env)
        assert put.status == 0, put
        assert router.stop(signal.SIGTERM)[0] == 0
    assert "go.micro.router" not in run("micro", "list", "services", env=env).stdout


def test_an_address_that_cannot_be_used_is_named() -> None:
    done = run("micro", "router", "--address", "nowhere")
    assert done.status == 2
    assert "--address (MICRO_ROUTER_ADDRESS)" in done.stderr


def test_a_port_that_is_taken_is_named_with_its_flag(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db"), "MICRO_ROUTER_ADDRESS": f"127.0.0.1:{port}"}
        done = run("micro", "router", env=env)
    assert done.status == 1
    assert f"error: --address (MICRO_ROUTER_ADDRESS): port {port} is taken: " in done.stderr
