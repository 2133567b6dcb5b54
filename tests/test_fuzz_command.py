"""`make fuzz` with its real fuzzer."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz import Found, main

PLANTED = """
import sys
from pathlib import Path
import tests.fuzz, tests.test_fuzz
tests.fuzz.KEPT = Path(sys.argv[1])

def read(data):
    if data[:1] == b"m" and data[1:2] == b"i" and len(data) > 2:
        raise OverflowError("planted")

tests.test_fuzz.ALL["planted"] = tests.test_fuzz.Target(read, [b"mx"])
tests.fuzz.fuzz("planted", [sys.argv[1], "-max_total_time=60", f"-artifact_prefix={sys.argv[1]}/found-"])
"""


@pytest.fixture
def _installed() -> None:
    if find_spec("atheris") is None:
        pytest.skip("atheris is not installed")


def test_a_machine_that_has_no_fuzzer_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.fuzz.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["fuzz", "parse_id_untrusted"])
    assert main() == 2
    assert capsys.readouterr().err.startswith("atheris is not installed: ")


@pytest.mark.peers
@pytest.mark.usefixtures("_installed")
def test_what_is_wrong_is_found_and_its_input_is_kept(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLANTED, str(tmp_path)], capture_output=True, text=True, errors="replace", check=False
    )
    found = Found("planted", done.returncode, done.stdout + done.stderr)
    assert found.status
    assert "OverflowError: planted" in found.said
    assert Path(found.culprit).read_bytes().startswith(b"mi")


@pytest.mark.peers
@pytest.mark.usefixtures("_installed")
def test_what_is_right_ends_well_and_an_unknown_name_is_told() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "1"]
    done = subprocess.run([*command, "parse_id_untrusted"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tunnel.identity:parse_id_untrusted: fine, " in done.stdout
    assert " ? inputs" not in done.stdout
    done = subprocess.run([*command, "nothing like that"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "No target has nothing like that in its name.\n")
