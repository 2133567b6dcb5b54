"""The benchmark of the SDK: its callers and services call one another, and it says whom it could not measure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.sdk", *arguments]
    return subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=False, timeout=120)


def test_a_contender_nobody_knows_is_refused_with_the_names_of_those_there_are() -> None:
    done = benchmark("--only", "sdk,carrier-pigeon")
    assert done.returncode == 2
    assert "carrier-pigeon" in done.stderr
    assert "grpc-aio" in done.stderr


def test_who_cannot_be_measured_is_named() -> None:
    done = benchmark("--only", "http", "--output", "json")
    assert done.returncode == 0
    assert "--fetch" in json.loads(done.stdout)["missing"]["http"]


@pytest.mark.parametrize("name", ["sdk", "node", "attached", "grpc", "grpc-aio"])
def test_calls_are_answered_and_counted(name: str) -> None:
    done = benchmark("--only", name, "--rounds", "1", "--seconds", "0.2", "--output", "json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["figures"][name]
    for in_flight in (1, 64):
        assert figures[f"per_s_{in_flight}"] > 10
        assert 0 < figures[f"p50_us_{in_flight}"] <= figures[f"p99_us_{in_flight}"]
