"""The flags of limits: what of them reaches a node, from the command line and from the environment."""

import sys
from typing import Any

import pytest
from click.testing import CliRunner

from mesh.cli import micro
from sdk.port.limits import Limits

FLAGS = ("--idle-timeout", "60", "--stall_timeout", "30.5", "--call-timeout", "5", "--max-body", "1048576")
MEANT = Limits(idle=60.0, stall=30.5, call=5.0, max_body=1 << 20)


@pytest.mark.parametrize("command", ["network", "proxy"])
def test_limits_come_from_flags_and_from_variables(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[Any] = []

    def node(config: Any, identity: object = None) -> Any:
        configs.append(config)
        return type("Stub", (), {"reload": None})()

    monkeypatch.setattr("mesh.node.Node", node)
    monkeypatch.setattr(sys.modules["mesh.cli.entry"], "run_until_signal", lambda node, ready, hangup: None)
    variables = {
        f"MICRO_{command.upper()}_{name[2:].replace('-', '_').upper()}": value
        for name, value in zip(FLAGS[::2], FLAGS[1::2], strict=True)
    }
    for arguments, env, meant in ((FLAGS, {}, MEANT), ((), variables, MEANT), ((), {}, Limits())):
        done = CliRunner().invoke(micro, [command, *arguments], env=env)
        assert done.exit_code == 0, done.output
        assert configs.pop().limits == meant


def test_a_limit_below_nothing_is_refused_naming_flag_and_variable() -> None:
    done = CliRunner().invoke(micro, ["proxy", "--max-body", "-1"])
    assert "--max-body (MICRO_PROXY_MAX_BODY) is -1" in str(done.exception)
