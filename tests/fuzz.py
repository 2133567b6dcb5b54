"""Fuzzing that looks for new ways through the code: `python -m tests.fuzz --seconds 60 http`, or `make fuzz`.

It tries what tests/test_fuzz.py tries (`ALL` there), with atheris: mutations that reach a branch which none did before
are kept and mutated on, in build/fuzz/TARGET. Each target has a process of its own, with 1 GiB of memory and 10 seconds
for one input; as many run at once as there are cores. An input that fails is kept beside, and the exit status is 1.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

KEPT = Path("build/fuzz")
PACKAGES = ["sdk", "router", "tunnel", "proxy", "mesh"]
MEMORY_MB = 1024
PATIENCE = 10
"""Seconds that one input may take: the dearest valid one takes ten milliseconds."""


class Found(NamedTuple):
    """What became of a target."""

    name: str
    status: int
    said: str

    @property
    def runs(self) -> str:
        """How many inputs were tried, as libFuzzer says at its end."""
        return next((line.split()[1] for line in reversed(self.said.splitlines()) if line.startswith("Done ")), "?")

    @property
    def culprit(self) -> str:
        """The file with the input that failed, or nothing."""
        marks = [line for line in self.said.splitlines() if "Test unit written to " in line]
        return marks[-1].split("Test unit written to ", 1)[1] if marks else ""


def folder(name: str) -> Path:
    return KEPT / "".join(each if each.isalnum() or each in "._" else "-" for each in name)


def fuzz(name: str, arguments: list[str]) -> None:
    """Runs libFuzzer on one target, in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES, enable_loader_override=False):
        from tests.test_fuzz import ALL, check
    target = ALL[name]
    kept = folder(name)
    kept.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.valid):
        (kept / f"valid-{number}").write_bytes(data)
    limits = [f"-rss_limit_mb={MEMORY_MB}", f"-timeout={PATIENCE}", "-max_len=4096", "-print_final_stats=0"]
    atheris.Setup([sys.argv[0], *limits, *arguments], lambda data: check(target, data))
    atheris.Fuzz()


def run(name: str, seconds: int) -> Found:
    """Runs one target in a process of its own."""
    kept = folder(name)
    command = [sys.executable, "-m", "tests.fuzz", "--child", name, str(kept)]
    command += [f"-max_total_time={seconds}", f"-artifact_prefix={kept}.", "-verbosity=1"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    return Found(name, done.returncode, done.stdout)


def chosen(names: list[str]) -> Iterator[str]:
    from tests.test_fuzz import ALL

    for name in ALL:
        if not names or any(part in name for part in names):
            yield name


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("names", nargs="*", metavar="PART", help="of the names of targets; all when none is given")
    options = parser.parse_args()
    targets = list(chosen(options.names))
    if not targets:
        print(f"No target has {' or '.join(options.names)} in its name.", file=sys.stderr)
        return 2
    if find_spec("atheris") is None:
        print("atheris is not installed: it is there for Linux on x86-64 (make fuzz).", file=sys.stderr)
        return 2
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(lambda name: run(name, options.seconds), targets):
            print(f"{found.name}: {'fine' if not found.status else 'FAILED'}, {found.runs} inputs", flush=True)
            if found.status:
                failed += 1
                print(found.said[-4000:])
                print(f"  again: python -m tests.fuzz --child '{found.name}' {found.culprit}", flush=True)
    print(f"{len(targets)} targets; failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
