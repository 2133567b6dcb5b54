"""The benchmark of registries: routes are waited for, services counted, and it says whom it could not measure."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.registry import serve

HOUSE = Path(__file__).parents[2]


def benchmark(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.registry", *arguments]
    return subprocess.run(
        command, cwd=HOUSE, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=120
    )


def measured(name: str) -> dict[str, float]:
    done = benchmark("--only", name, "--services", "50", "--times", "2", "--rounds", "1", "--output", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, float] = json.loads(done.stdout)["figures"][name]
    return figures


def test_a_registry_nobody_knows_is_refused_with_the_names_of_those_there_are() -> None:
    done = benchmark("--only", "sqlite,stone-tablets")
    assert done.returncode == 2
    assert "stone-tablets" in done.stderr
    assert "etcd" in done.stderr


def test_who_is_not_installed_is_named(tmp_path: Path) -> None:
    done = benchmark("--only", "etcd,consul", "--output", "json", PATH=str(tmp_path))
    assert done.returncode == 0
    assert json.loads(done.stdout)["missing"] == {
        "etcd": "etcd is not installed",
        "consul": "consul is not installed",
    }


@pytest.mark.parametrize("name", ["sqlite", "service", "mdns"])
def test_routes_come_and_services_are_counted(name: str) -> None:
    figures = measured(name)
    assert 0 < figures["route_ms"] <= figures["slowest_ms"]
    assert all(figures[key] > 0 for key in ("register_per_s", "live_per_s", "list_s", "watch_per_s"))
    assert "watcher_mib" in figures
    assert ("server_mib" in figures) == (name == "service")


@pytest.mark.peers
def test_a_real_etcd_is_measured(require: Callable[[str], str]) -> None:
    require("etcd")
    assert measured("etcd")["server_mib"] > 1


def test_a_server_that_never_says_it_is_ready_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "consul"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("benchmarks.registry.STARTING", 0.2)
    with contextlib.ExitStack() as stack, pytest.raises(OSError, match="consul has not said"):
        serve("consul", tmp_path, stack)
