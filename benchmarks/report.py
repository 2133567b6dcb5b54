"""How a benchmark ends: medians of its rounds, as tables for people or as JSON, and who was not measured, by name."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence

Figures = dict[str, float]
"""What was measured of a contender."""


def medians(rounds: Mapping[str, Sequence[Figures]]) -> dict[str, Figures]:
    """Of the rounds of each contender that was measured."""
    return {
        name: {key: statistics.median(each[key] for each in measured) for key in measured[0]}
        for name, measured in rounds.items()
        if measured
    }


def conclude(
    output: str,
    figures: dict[str, Figures],
    missing: dict[str, str],
    failed: dict[str, str],
    *,
    tables: Callable[[], None],
    why: Callable[[str], str] = str,
) -> None:
    """Prints what was found, by `tables` unless `output` is `json`; `why` makes a sentence of what is missing. Exits
    with 1 where a contender failed."""
    if output == "json":
        print(json.dumps({"figures": figures, "missing": missing, "failed": failed}, indent=2))
    else:
        tables()
        for name, what in missing.items():
            print(f"{name} was not measured: {why(what)}")
        for name, error in failed.items():
            print(f"{name} failed: {error}")
    if failed:
        raise SystemExit(1)
