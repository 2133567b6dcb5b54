"""Seeded runs of a whole network of machines, and that the runs can be trusted."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Container, Iterable
from typing import cast

import pytest

import proxy.custody
import router.choice
import router.database
import tunnel.linkport
from proxy.switch import Switch
from router.gossip import Gossip
from router.linkstate import Edges
from router.paths import Path, shortest_paths
from router.services import ServiceEntry
from tests.simulate.__main__ import attempt, workers
from tests.simulate.story import Outcome, run

SEEDS = 200
"""Runs at each `make test`, of about half a second each; `make simulate SEEDS=…` runs as many as asked."""


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest) -> dict[int, Outcome | str]:
    """What became of each seed that is to be tried, all of them run on all cores."""
    parameters = [item.callspec.params for item in request.session.items if isinstance(item, pytest.Function)
                  and item.originalname == "test_a_network_in_trouble_comes_to_agree"]  # fmt: skip
    jobs = [(cast("int", each["seed"]), 20) for each in parameters]
    with workers() as pool:
        return dict(pool.imap_unordered(attempt, jobs))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_network_in_trouble_comes_to_agree(seed: int, outcomes: dict[int, Outcome | str]) -> None:
    outcome = outcomes[seed]
    assert isinstance(outcome, Outcome), f"{outcome}\nagain: python -m tests.simulate {seed}-{seed} --trace"
    assert outcome.answered


def test_a_seed_reproduces_a_run_exactly_in_every_process() -> None:
    """Of two processes whose hashes are seeded differently: iterating over a set would show."""
    program = "from tests.simulate.story import run; print(run(1000, nodes=12).fingerprint)"
    prints = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(prints) == 1


def test_two_seeds_are_two_runs() -> None:
    assert run(1000, nodes=8).fingerprint != run(1005, nodes=8).fingerprint


def test_the_command_says_which_seed_failed_and_how_to_run_it_again() -> None:
    broken = (
        "import tests.simulate.__main__ as command, tests.simulate.story as story, sys\n"
        "story.Story._check_node = lambda *_: 1 / 0\n"
        "sys.argv = ['simulate', '3-4', '--nodes', '6']\n"
        "sys.exit(command.main())"
    )
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "seed 3 failed: ZeroDivisionError" in done.stdout
    assert "python -m tests.simulate 4-4 --trace" in done.stdout
    assert "failed: 3, 4" in done.stdout
    good = [sys.executable, "-m", "tests.simulate", "2-3", "--nodes", "6"]
    done = subprocess.run(good, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "2 seeds" in done.stdout


Patch = pytest.MonkeyPatch


def run_some() -> None:
    for seed in range(10):
        run(seed, nodes=10)


def never_withdraw(patch: Patch) -> None:
    kept: dict[Gossip, dict[str, ServiceEntry]] = {}
    right = Gossip.set_services

    def set_services(self: Gossip, entries: Iterable[ServiceEntry], now: float) -> None:
        mine = kept.setdefault(self, {})
        mine.update((entry.service, entry) for entry in entries)
        right(self, mine.values(), now)

    patch.setattr(Gossip, "set_services", set_services)


def never_compare(patch: Patch) -> None:
    patch.setattr(Gossip, "_compare", lambda *_: None)


def never_forget(patch: Patch) -> None:
    patch.setattr(router.database, "FORGET_AFTER", 1e6)


def go_in_circles(patch: Patch) -> None:
    def circles(me: bytes, edges: Edges, closed: Container[bytes] = ()) -> dict[bytes, Path]:
        right = shortest_paths(me, edges, closed)
        return {node: path if path.nodes[1:] else Path((node, me, node), path.cost) for node, path in right.items()}

    patch.setattr(router.choice, "shortest_paths", circles)


def stay_on_bad_ways(patch: Patch) -> None:
    patch.setattr(router.choice, "GAIN", 3.0)


def condemn_in_haste(patch: Patch) -> None:
    patch.setattr(tunnel.linkport, "STALLED", math.inf)


def let_calls_go_on(patch: Patch) -> None:
    patch.setattr(Switch, "handle_timeout", lambda *_: None)


def try_again_whatever_happened(patch: Patch) -> None:
    patch.setattr(proxy.custody, "may_run_twice", lambda head: True)


@pytest.mark.parametrize(
    ("break_it", "found"),
    [
        (never_withdraw, "wrong about who offers"),
        (never_compare, "know different links"),
        (never_forget, "wrong about the links"),
        (go_in_circles, "went in a circle"),
        (stay_on_bad_ways, "would do"),
        (condemn_in_haste, "which has slept itself"),
        (let_calls_go_on, "after its deadline"),
        (try_again_whatever_happened, "ran twice|in a circle"),
    ],
)
def test_what_is_broken_is_found(break_it: Callable[[Patch], None], found: str, monkeypatch: Patch) -> None:
    break_it(monkeypatch)
    with pytest.raises(AssertionError, match=found):
        run_some()
