"""Runs seeds of the simulation: `python -m tests.simulate 1000`, `200-299` or, for one of them, `17-17 --trace`.

Says which seeds failed, and with which command each of them is run again; the exit status is 1 then.
"""

import argparse
import gc
import multiprocessing
import multiprocessing.pool
import sys

from .story import Outcome, run


def seeds(text: str) -> range:
    """`50` is the first fifty seeds, `10-19` are those ten."""
    first, dash, last = text.partition("-")
    return range(int(first), int(last) + 1) if dash else range(int(first))


def attempt(job: tuple[int, int]) -> tuple[int, Outcome | str]:
    seed, nodes = job
    try:
        return seed, run(seed, nodes=nodes)
    except Exception as error:  # whatever it is, the seed is what tells most of it
        return seed, "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])


def workers() -> multiprocessing.pool.Pool:
    """A process for each core, which seldom looks for garbage: what a run makes lives as long as it does."""
    return multiprocessing.Pool(initializer=gc.set_threshold, initargs=(50_000, 20, 100))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("seeds", type=seeds, help="how many, or first-last")
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--trace", action="store_true", help="tell what happened; for a single seed")
    options = parser.parse_args()
    if options.trace:
        for seed in options.seeds:
            print("\n".join(run(seed, nodes=options.nodes, trace=True).lines))
        return 0
    failed: list[int] = []
    done = calls = events = 0
    with workers() as pool:
        for seed, outcome in pool.imap_unordered(attempt, [(seed, options.nodes) for seed in options.seeds]):
            done += 1
            if isinstance(outcome, str):
                failed.append(seed)
                print(f"\nseed {seed} failed: {outcome}\n  again: python -m tests.simulate {seed}-{seed} --trace")
            else:
                calls, events = calls + outcome.calls, events + outcome.events
            if sys.stderr.isatty():
                print(f"\r{done} of {len(options.seeds)} seeds, {len(failed)} failed ", end="", file=sys.stderr)
    print(f"{done} seeds, {events} events, {calls} calls; failed: {', '.join(map(str, sorted(failed))) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
