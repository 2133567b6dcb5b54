import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import contenders

HOUSE = Path(__file__).parents[2]


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.tunnel", *arguments]
    return subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=False, timeout=60)


def test_the_load_measures_itself_without_a_tunnel() -> None:
    done = benchmark("--quick", "--only", "direct", "--output", "json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert not printed["failed"]
    assert not printed["missing"]
    figures = printed["figures"]["direct"]
    assert {"bulk_1_mb_per_s", "bulk_16_mb_per_s", "echo_64_p99_us", "connections_per_s"} <= figures.keys()
    assert all(value > 0 for value in figures.values())
    assert not [name for name in figures if "cpu" in name], "nobody spends anything without a tunnel"


def test_a_contender_nobody_knows_is_refused_with_the_names_of_those_there_are() -> None:
    done = benchmark("--only", "direct,carrier-pigeon")
    assert done.returncode == 2
    assert "carrier-pigeon" in done.stderr
    assert "micro-tcp" in done.stderr


def test_a_contender_that_is_not_installed_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "PATHS", str(tmp_path))
    assert contenders.Haproxy().missing() == "haproxy"
    assert contenders.Direct().missing() is None
