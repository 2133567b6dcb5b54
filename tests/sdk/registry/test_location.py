"""Where the registry's file stands by default."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from sdk.errors import Forbidden
from sdk.registry.location import default_path

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "runtime"
    path.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    return path


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def test_it_stands_in_the_users_runtime_directory(runtime: Path) -> None:
    assert default_path() == default_path() == runtime / "micro" / "registry.db"


def test_without_one_it_stands_in_a_directory_of_the_user_among_the_temporary_ones(temporary: Path) -> None:
    assert default_path() == temporary / f"micro-{os.geteuid()}" / "registry.db"


@pytest.mark.parametrize("named", ["relative", "/no/such/directory", ""])
def test_a_runtime_directory_that_is_none_is_passed_over(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", named)
    assert temporary in default_path().parents


@AS_ROOT
def test_the_runtime_directory_of_somebody_else_is_passed_over(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(theirs))
    assert temporary in default_path().parents


def test_nobody_else_gets_into_the_directory(temporary: Path) -> None:
    before = os.umask(0)
    try:
        assert stat.S_IMODE(default_path().parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


@AS_ROOT
def test_a_directory_that_somebody_else_made_is_refused(temporary: Path) -> None:
    theirs = temporary / f"micro-{os.geteuid()}"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 12345, 12345)
    with pytest.raises(Forbidden, match=rf"{theirs}.*--registry-address"):
        default_path()


def test_a_directory_that_others_may_write_to_is_refused(temporary: Path) -> None:
    shared = temporary / f"micro-{os.geteuid()}"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(Forbidden, match="only this user"):
        default_path()


def test_a_link_to_another_place_is_refused(temporary: Path, tmp_path: Path) -> None:
    (temporary / f"micro-{os.geteuid()}").symlink_to(tmp_path)
    with pytest.raises(Forbidden):
        default_path()
