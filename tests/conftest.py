"""What every test stands on: a clean environment, peers that may be missing, and the same examples each time in CI."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterator

import pytest
from hypothesis import settings

IN_CI = os.environ.get("CI") == "true"

# A developer's machine looks for new examples; a change under review gets the same ones each time, however slowly.
settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True)
# Neither has a deadline for one example: on a busy machine any of them may take long, and a test depends on no luck.
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if IN_CI else "here")


LONGEST = ("test_simulate.py", "test_transit.py", "test_faults.py")
"""Files with minutes of work or of waiting: begun last, they would run while the other workers have nothing to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first; then, as several workers would do by themselves, the files of most tests."""
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.name not in LONGEST, -tests[item.path]))


CALLS = "20s"
"""What unary calls have where a test says nothing else: in the five seconds that programs have, a machine that runs
other tests as well may not let each process on their way do its part."""


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the developer's own settings and registry from the tests, and from the processes they start."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("MICRO_"):
                patch.delenv(name)
        patch.setenv("MICRO_CLIENT_REQUEST_TIMEOUT", CALLS)
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.fixture
def require() -> Callable[[str], str]:
    """Find the program a test marked `peers` talks to, or skip the test naming it."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"{program} is not installed")
        return path

    return find


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test with a peer be skipped in CI, for whatever reason: a skip there hides a missing install."""
    report = yield
    if IN_CI and report.skipped and item.get_closest_marker("peers") is not None and call.excinfo is not None:
        report.outcome = "failed"
        report.longrepr = f"in CI a missing peer is a failure: {call.excinfo.value}"
    return report
