"""The SQLite file, with a clock that is an argument."""

import json
import logging
import math
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import BadRequest, RemoteProtocolError, Unavailable
from sdk.registry import database as module
from sdk.registry.database import Busy, Changes, Database
from sdk.registry.records import LOG_LENGTH, Change, parse_record_untrusted, split
from sdk.types import Instance, Service, service_to_json


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def __iadd__(self, seconds: float) -> "Clock":
        self.now += seconds
        return self


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def opened(path: Path, clock: Clock) -> Iterator[Callable[[], Database]]:
    made: list[Database] = []

    def open_() -> Database:
        made.append(Database(path, clock))
        return made[-1]

    yield open_
    for database in made:
        database.close()


def a(*ids: str, name: str = "greeter", port: int = 80) -> Service:
    return Service(name=name, instances=tuple(Instance(id=id, address=f"h:{port}") for id in ids))


def ids(database: Database) -> list[str]:
    found = [id for _, _, id in database.state().records]
    assert sorted(found) == sorted(piece.instances[0].id for piece in database.records("greeter"))
    return found


def log(changes: Changes | None) -> list[tuple[str, bool]]:
    assert changes is not None
    return [(line.key[2], line.record is not None) for line in changes.lines]


def test_an_expired_record_is_not_shown_though_nobody_has_swept(opened: Callable[[], Database], clock: Clock) -> None:
    database = opened()
    database.put(split(a("1")), 30)
    database.put(split(a("2")), math.inf)
    clock += 29.9
    assert ids(database) == ["1", "2"]
    clock += 0.1
    assert ids(database) == ["2"]
    # It has to be swept, so that others are told.
    assert database.state().next_expiry == clock.now


def test_sweeping_tells_what_went(opened: Callable[[], Database], clock: Clock) -> None:
    ours, theirs = opened(), opened()
    ours.put(split(a("1")), 30)
    ours.put(split(a("2")), 60)
    first, second = clock.now + 30, clock.now + 60
    clock += 29.9
    assert theirs.sweep() == first
    clock += 0.1
    assert theirs.sweep() == second
    assert ours.changes(2) == Changes(3, [Change(("greeter", "latest", "1"), None)], second)
    clock += 30
    assert ours.sweep() == math.inf


def test_a_renewal_moves_the_expiry_and_is_no_change(opened: Callable[[], Database], clock: Clock) -> None:
    database = opened()
    database.put(split(a("1")), 30)
    clock += 20
    database.put(split(a("1")), 30)
    clock += 29
    assert ids(database) == ["1"]
    assert log(database.changes(0)) == [("1", True)]


def test_a_renewal_that_comes_too_late_is_a_delete_and_a_create(opened: Callable[[], Database], clock: Clock) -> None:
    database = opened()
    database.put(split(a("1")), 30)
    clock += 31
    database.put(split(a("1")), 30)
    assert log(database.changes(0)) == [("1", True), ("1", False), ("1", True)]


def test_a_beat_tells_of_changes_of_both_this_one_and_others(opened: Callable[[], Database]) -> None:
    ours, theirs = opened(), opened()
    beats = [ours.beat(), ours.beat()]
    ours.put(split(a("1")), 30)
    beats.append(ours.beat())
    theirs.put(split(a("2")), 30)
    beats.append(ours.beat())
    assert beats[0] == beats[1]
    assert len(set(beats)) == 3


def test_the_log_is_pruned_and_says_so(opened: Callable[[], Database]) -> None:
    database = opened()
    assert log(database.changes(0)) == []
    database.put(split(a(*map(str, range(LOG_LENGTH)))), 30)
    assert len(log(database.changes(0))) == LOG_LENGTH
    database.put(split(a("one more")), 30)
    assert database.changes(0) is None
    assert len(log(database.changes(1))) == LOG_LENGTH
    assert log(database.changes(LOG_LENGTH)) == [("one more", True)]
    assert log(database.changes(LOG_LENGTH + 1)) == []


def test_a_change_that_fails_is_not_made_in_part(opened: Callable[[], Database]) -> None:
    database = opened()
    database.put(split(a("1")), 30)
    with pytest.raises(AttributeError):
        database.put({**split(a("2")), ("", "", ""): None}, 30)  # type: ignore[dict-item]
    assert ids(database) == ["1"]
    assert log(database.changes(1)) == []


def test_what_had_a_time_to_live_does_not_outlive_its_boot(
    opened: Callable[[], Database], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = opened()
    before.put(split(a("was running")), 30)
    before.put(split(a("made to stay")), math.inf)
    monkeypatch.setattr(module, "_boot_id", lambda: "another boot")
    clock += 1  # the clock of the new boot happens to stand where the record would still live
    assert ids(opened()) == ["made to stay"]
    assert log(before.changes(2)) == [("was running", False)]
    opened().put(split(a("runs again")), 30)
    assert ids(opened()) == ["made to stay", "runs again"]


def test_without_a_boot_id_what_seems_to_come_from_the_future_is_of_an_earlier_boot(
    opened: Callable[[], Database], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_boot_id", lambda: "")
    opened().put(split(a("1")), 30)
    assert ids(opened()) == ["1"]
    clock.now = 5.0
    assert ids(opened()) == []


def test_what_is_registered_while_another_opens_the_file_is_not_of_an_earlier_boot(
    opened: Callable[[], Database], path: Path, clock: Clock
) -> None:
    ours = opened()

    def interrupted() -> float:
        now = clock.now
        if not ids(ours):
            clock.now += 1
            ours.put(split(a("1")), 30)
        return now

    Database(path, interrupted).close()
    assert ids(ours) == ["1"]


def test_a_locked_file_can_be_read_but_not_written(opened: Callable[[], Database], path: Path) -> None:
    database = opened()
    database.put(split(a("1")), 30)
    with closing(sqlite3.connect(path, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        for change in (
            lambda: database.put(split(a("2")), 30),
            lambda: database.remove(split(a("1"))),
            database.sweep,
        ):
            with pytest.raises(Busy):
                change()
        assert ids(database) == ids(opened()) == ["1"]
        assert database.beat() == database.beat()
        lock.execute("COMMIT")
    database.put(split(a("2")), 30)
    assert ids(database) == ["1", "2"]


def garble(path: Path, *rows: tuple[object, object, object, object]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for row in rows:
            connection.execute("INSERT INTO instances VALUES (?, ?, ?, ?, 0, 30, 9e999)", row)
            connection.execute("INSERT INTO changes (name, version, id, record) VALUES (?, ?, ?, ?)", row)


def test_rows_that_cannot_be_read_are_skipped_and_named_once(
    opened: Callable[[], Database], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = json.dumps(service_to_json(a("good")))
    database = opened()
    garble(
        path,
        ("greeter", "latest", "no json", "{"),
        ("greeter", "latest", "deep", "[" * 100_000),
        ("greeter", "latest", "bytes", b"\xff\x00"),
        ("greeter", "latest", "no service", "[]"),
        ("greeter", "latest", "no record of its own", good),
        ("greeter", "another", "good", good),
        ("greeter", "latest", 5, good),
        (b"\xff", "latest", "good", good),
        ("greeter", "latest", "good", good),
    )
    with closing(sqlite3.connect(path)) as connection, connection:  # text that is not UTF-8
        connection.execute("UPDATE instances SET record = CAST(x'ff22' AS TEXT) WHERE id = 'no json'")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert ids(database) == ["good"]
            assert log(database.changes(0))[-1] == ("good", True)
            assert [known for _, known in log(database.changes(0))] == [False] * 8 + [True]
    assert len(caplog.messages) == 8
    assert all(str(path) in message for message in caplog.messages)
    assert any("no record of its own" in message for message in caplog.messages)


@given(st.text() | st.binary() | st.none() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_no_record_raises_anything_else(text: object) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_record_untrusted(text)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_text("greeter: 10.0.0.1:80\n" * 100)
    with pytest.raises(BadRequest, match=rf"{path}.*no registry.*--registry-address"):
        Database(path)
    assert path.read_text().startswith("greeter")


def test_a_damaged_file_is_refused(opened: Callable[[], Database], path: Path) -> None:
    database = Database(path)
    database.put(split(a(*map(str, range(100)))), 30)
    database.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(BadRequest, match=rf"{path} is damaged.*remove this one"):
        opened().state()


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    before = path.read_bytes()
    with pytest.raises(BadRequest, match="another program"):
        Database(path)
    assert path.read_bytes() == before


def test_a_registry_of_another_format_is_refused(opened: Callable[[], Database], path: Path) -> None:
    opened().close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(BadRequest, match="format 99"):
        Database(path)


def test_an_empty_file_becomes_a_registry(opened: Callable[[], Database], path: Path) -> None:
    path.touch()
    assert ids(opened()) == []


def test_a_full_disk_is_called_so_and_is_no_matter_of_permissions(opened: Callable[[], Database]) -> None:
    database = opened()
    database.put(split(a("1")), 30)
    [(pages,)] = database._work.execute("PRAGMA page_count")
    database._work.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match=r"disk is full\): make room .*--registry-address"):
        database.put(split(a(*map(str, range(1000)), name="other")), 30)
    assert ids(database) == ["1"]


def test_a_directory_is_not_a_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(Unavailable, match=str(path)):
        Database(path)


def test_a_file_that_was_removed_or_replaced_is_noticed(opened: Callable[[], Database], path: Path) -> None:
    database = opened()
    assert database.in_place()
    path.rename(path.with_name("elsewhere"))
    assert not database.in_place()
    shutil.copyfile(path.with_name("elsewhere"), path)
    assert not database.in_place()
