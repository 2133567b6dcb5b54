"""The house keeps its own rules: those that no linter knows."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
PACKAGES = ("sdk", "router", "tunnel", "proxy", "mesh")
ROOMS = (*PACKAGES, "tests", "examples", "docs", "benchmarks")

# The brackets keep these patterns from matching themselves.
FOREIGN = re.compile(
    r"pythonhoste[d]|pypi\.or[g]|/simpl[e]/|\.wh[l]\b|debian\.or[g]|registry\.npmj[s]|"  # where packages come from
    r"(?<![\w.~-])/(?:wor[k]|roo[t]|hom[e]|User[s]|opt/pyp[i])/"  # where somebody keeps their files
)


def source_modules() -> list[Path]:
    paths = (path for package in PACKAGES for path in (HOUSE / package).rglob("*.py"))
    return sorted(path.relative_to(HOUSE) for path in paths if path.name not in ("__init__.py", "__main__.py"))


def house_files() -> Iterator[Path]:
    yield from (path for path in HOUSE.iterdir() if path.is_file() and path.name != ".git")
    yield from (path for path in (HOUSE / ".ci").rglob("*") if path.is_file())
    for room in ROOMS:
        yield from (path for path in (HOUSE / room).rglob("*") if path.is_file() and "__pycache__" not in path.parts)


@pytest.mark.parametrize("module", source_modules(), ids=str)
def test_each_source_file_has_its_test_file(module: Path) -> None:
    test = HOUSE / "tests" / module.parent / f"test_{module.name}"
    assert test.is_file(), f"{module} has no {test.relative_to(HOUSE)}"


def test_each_example_is_run_by_a_test() -> None:
    tests = "".join(path.read_text() for path in (HOUSE / "tests").rglob("test_*.py"))
    assert not [path.name for path in (HOUSE / "examples").glob("*.py") if path.name not in tests]


def test_no_file_names_a_package_host_or_a_place_on_somebodys_machine() -> None:
    found = [
        f"{path.relative_to(HOUSE)}:{number}: {match.group()}"
        for path in house_files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if (match := FOREIGN.search(line))
    ]
    assert not found, "\n".join(found)


def test_the_purity_contract_covers_all_of_the_proxy_but_its_edges() -> None:
    config = tomllib.loads((HOUSE / "pyproject.toml").read_text())
    contracts = config["tool"]["importlinter"]["contracts"]
    [pure] = [contract["source_modules"] for contract in contracts if contract["type"] == "forbidden"]
    modules = {".".join(path.with_suffix("").parts) for path in source_modules() if path.parts[0] == "proxy"}
    assert modules - {
        "proxy.listener",
        "proxy.dialer",
        "proxy.mapped",
        "proxy.asking",
        "proxy.callers",
        "proxy.visit",
        "proxy.termination",
    } == {name for name in pure if name.startswith("proxy.")}


def test_the_map_of_the_house_shows_each_room_and_nothing_that_is_gone() -> None:
    text = (HOUSE / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`([\w./-]+/)`", text))
    assert {f"{room}/" for room in ROOMS} <= named
    assert not [name for name in named if not (HOUSE / name).is_dir()]


PEER_TEST = """
    import pytest

    @pytest.mark.peers
    def test_with_a_peer(require):
        require("no-such-program")
"""


@pytest.mark.parametrize(("ci", "outcome"), [("true", "failed"), ("", "skipped")])
def test_a_missing_peer_is_named_and_in_ci_it_is_a_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str
) -> None:
    monkeypatch.setenv("CI", ci)
    pytester.makeini("[pytest]\nmarkers = peers")
    pytester.makeconftest((HOUSE / "tests" / "conftest.py").read_text())
    pytester.makepyfile(PEER_TEST)
    result = pytester.runpytest_subprocess("-rs")
    result.assert_outcomes(**{outcome: 1})
    result.stdout.fnmatch_lines("*no-such-program is not installed*")
