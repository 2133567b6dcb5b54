"""Programs that make credentials: when they are run, with what, for how long, and what is told of their failures."""

import json
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from sdk.errors import BadRequest, Unavailable
from sdk.registry.kubecredential import VERSIONS, Credential
from sdk.registry.kubeexec import CredentialProgram, parse_command
from tests.sdk.registry.test_kubecredential import printed

SCRIPT = """#!/bin/sh
cd "$(dirname "$0")"
echo run >> runs
cat answer
{more}
"""


class Made:
    """A program, and what it does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.does()

    def does(self, more: str = "", **status: Any) -> None:
        (self.folder / "answer").write_bytes(printed(**status))
        (self.folder / "program").write_text(SCRIPT.format(more=more))
        (self.folder / "program").chmod(0o700)

    def opened(self, **said: Any) -> CredentialProgram:
        said = {"apiVersion": VERSIONS[0], "command": "./program", **said}
        return CredentialProgram(parse_command("config", self.folder, said, {}), None)

    @property
    def runs(self) -> int:
        return len((self.folder / "runs").read_text().split())


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


async def test_it_is_run_once_for_all_who_ask(made: Made) -> None:
    made.does(token="one")
    program, found = made.opened(), []

    async def ask() -> None:
        found.append(await program.credential())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert found == [Credential(token="one")] * 5
    assert made.runs == 1


async def test_it_is_run_again_once_its_credentials_have_run_out(made: Made) -> None:
    program = made.opened()
    for hours, runs in ((-1, 1), (-1, 2), (1, 3), (1, 3)):
        made.does(token="one", expirationTimestamp=(datetime.now(UTC) + timedelta(hours=hours)).isoformat())
        assert (await program.credential()).token == "one"
        assert made.runs == runs


async def test_it_is_run_again_when_its_credentials_are_refused_once_for_all_to_whom_that_happened(made: Made) -> None:
    made.does(token="one")
    program = made.opened()
    refused = await program.credential()
    assert not await program.renewed(refused)
    made.does(token="two")
    assert await program.renewed(refused)
    assert await program.renewed(refused)
    assert (await program.credential()).token == "two"
    assert made.runs == 3


async def test_it_is_run_without_a_shell_in_an_environment_of_its_own(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "from here")
    made.does(more='printf "%s," "$1" "$INHERITED" "$ADDED" > told; echo "$KUBERNETES_EXEC_INFO" > info', token="one")
    await made.opened(args=["$(touch x)"], env=[{"name": "ADDED", "value": "a b"}]).credential()
    assert (made.folder / "told").read_text() == "$(touch x),from here,a b,"
    assert json.loads((made.folder / "info").read_text())["spec"] == {"interactive": False}


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ({"more": "echo s3cret >&2; exit 3", "token": "s3cret"}, "ended with status 3: try `kubectl"),
        ({"more": "echo s3cret", "token": "s3cret"}, "cannot be used: it is not JSON"),
        ({"token": "s3cret", "clientKeyData": "s3cret"}, "one without the other"),
    ],
)
async def test_a_program_that_fails_is_named_and_nothing_it_says_is_told(
    made: Made, does: dict[str, Any], says: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    made.does(**does)
    program = made.opened(args=["s3cret"], env=[{"name": "A", "value": "s3cret"}])
    with caplog.at_level(logging.DEBUG), pytest.raises(Unavailable, match=says) as caught:
        await program.credential()
    assert f"the program {made.folder}/program that config names" in str(caught.value)
    assert caught.value.__cause__ is None
    assert "s3cret" not in str(caught.value) + repr(vars(program)) + caplog.text + "".join(capfd.readouterr())


async def test_a_program_that_goes_on_and_on_is_ended(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.registry.kubeexec.PATIENCE", 0.2)
    made.does(more="echo $$ > pid; exec sleep 600", token="one")
    with pytest.raises(Unavailable, match=r"made none within 0\.2 s"):
        await made.opened().credential()
    pid = made.folder / "pid"
    if pid.exists() and (text := pid.read_text()):  # else it was ended before it got there
        with pytest.raises(ProcessLookupError):
            os.kill(int(text), 0)


async def test_a_program_that_was_removed_is_named(made: Made) -> None:
    program = made.opened()
    (made.folder / "program").unlink()
    with pytest.raises(Unavailable, match="that config names for credentials cannot be run: No such file"):
        await program.credential()


async def test_whoever_waits_for_a_program_may_leave(made: Made) -> None:
    made.does(more="exec sleep 600", token="one")
    program = made.opened()
    with trio.move_on_after(0.05) as scope:
        await program.credential()
    assert scope.cancelled_caught
    made.does(token="two")
    assert (await program.credential()).token == "two"


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "another interface"),
        ({"interactiveMode": "Always"}, "asks at a terminal"),
        ({"command": "no-such-program", "installHint": "get it at the shop"}, "is not there: get it at the shop"),
        ({"command": "./no-such-program"}, "/no-such-program that config names .* is not there: install it"),
    ],
)
def test_a_program_that_cannot_be_run_here_is_refused_at_once(made: Made, said: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        made.opened(**said)
