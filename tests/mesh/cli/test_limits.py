"""The flags of limits: what of them reaches a node, from the command line and from the environment."""

import sys
from typing import Any

import pytest
from click.testing import CliRunner

from mesh.cli import micro
from sdk.port.limits import Limits

FLAGS = (
    "--idle-timeout", "60", "--stall_timeout", "30.5", "--call-timeout", "5", "--max-body", "1048576",
    "--max-calls", "7",
)  # fmt: skip
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
    for arguments, env, meant in ((FLAGS, {}, (MEANT, 7)), ((), variables, (MEANT, 7)), ((), {}, (Limits(), 0))):
        done = CliRunner().invoke(micro, [command, *arguments], env=env)
        assert done.exit_code == 0, done.output
        config = configs.pop()
        assert (config.limits, config.max_calls) == meant
        assert config.flag_of_max_calls == f"--max-calls (MICRO_{command.upper()}_MAX_CALLS)"


def test_a_limit_below_nothing_is_refused_naming_flag_and_variable() -> None:
    for flag, variable in (("--max-body", "MICRO_PROXY_MAX_BODY"), ("--max-calls", "MICRO_PROXY_MAX_CALLS")):
        done = CliRunner().invoke(micro, ["proxy", flag, "-1"])
        assert f"{flag} ({variable}) is -1" in str(done.exception)
