"""The examples are run as a reader would run them."""

from pathlib import Path

from tests.processes import run, start


def test_caller_py_calls_greeter_py(tmp_path: Path) -> None:
    environment = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}
    with start("python", "examples/greeter.py", env=environment) as greeter:
        caller = run("python", "examples/caller.py", env=environment)
        assert (caller.status, caller.stdout) == (0, "Hello John\n0\n1\n2\n"), caller.stderr
        assert greeter.stop()[0] == 0
    without = run("python", "examples/caller.py", env=environment)
    assert without.status == 1
    assert "no service greeter in the registry (sqlite, " in without.stderr


def test_protobuf_grpcio_py_calls_itself_through_a_node(tmp_path: Path) -> None:
    environment = {"MICRO_REGISTRY": "sqlite", "MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}
    local = "127.0.0.1:0"
    with (
        start("python", "examples/protobuf_grpcio.py", env=environment) as service,
        start("micro", "network", "--address", local, "--proxy-address", local, env=environment) as node,
    ):
        caller = run(
            "python", "examples/protobuf_grpcio.py", "call", env={**environment, "MICRO_PROXY": node.address("proxy")}
        )
        assert (caller.status, caller.stdout) == (
            0,
            "Hello John\nINVALID_ARGUMENT who are you?\n2 sheep\n1 sheep\n{'text': 'Hello Jane'}\n",
        ), caller.stderr
        assert service.stop()[0] == 0
