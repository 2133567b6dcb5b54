"""The SQLite registry among real processes."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from sdk.errors import BadRequest, Forbidden, Unavailable
from sdk.registry import Action, Event, sqlite
from sdk.registry.database import Database
from sdk.registry.records import Key
from sdk.registry.sqlite import SqliteRegistry
from sdk.types import Instance, Service

# Does what its lines of input say, and says when each was done.
OTHER_PROCESS = """
import sys, time, trio
from sdk.registry import open_registry
from sdk.types import Instance, Service

async def main():
    async with open_registry("sqlite", sys.argv[1]) as registry:
        print("open", flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            what, id, ttl = line.split()
            service = Service(name="greeter", instances=(Instance(id=id, address="10.0.0.1:80"),))
            if what == "register":
                await registry.register(service, ttl=float(ttl))
            else:
                await registry.deregister(service)
            print(time.monotonic(), flush=True)

trio.run(main)
"""


class Other:
    """Another process that has the registry open."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._input = process.stdin
        self._output = process.stdout

    async def read(self) -> str:
        line = b""
        with trio.fail_after(30):
            while not line.endswith(b"\n"):
                line += (got := await self._output.receive_some(100))
                assert got, "the other process ended"
        return line.decode().strip()

    async def do(self, what: str, id: str, ttl: float = 60) -> float:
        """Has it do something; returns when that was done, on the clock of `time.monotonic`."""
        await self._input.send_all(f"{what} {id} {ttl}\n".encode())
        return float(await self.read())


@asynccontextmanager
async def other_process(path: Path) -> AsyncIterator[Other]:
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-W", "error", "-c", OTHER_PROCESS, str(path)]
        process: trio.Process = await nursery.start(
            partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
        )
        other = Other(process)
        assert await other.read() == "open"
        yield other
        nursery.cancel_scope.cancel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def a(id: str) -> Service:
    return Service(name="greeter", instances=(Instance(id=id, address="10.0.0.1:80"),))


async def next_of(events: AsyncIterator[Event]) -> tuple[Action, str]:
    with trio.fail_after(30):
        event = await anext(events)
    return event.action, event.service.instances[0].id


async def test_changes_of_another_process_arrive_within_a_fifth_of_a_second(path: Path) -> None:
    async with (
        SqliteRegistry(str(path)) as registry,
        registry.watch() as events,
        other_process(path) as other,
        trio.open_nursery() as nursery,
    ):
        note, noted = trio.open_memory_channel[tuple[Action, str, float]](0)

        async def watch() -> None:
            async for event in events:
                await note.send((event.action, event.service.instances[0].id, monotonic()))

        nursery.start_soon(watch)
        took = []
        for id in "abcde":
            for what, action in (("register", Action.CREATE), ("deregister", Action.DELETE)):
                done = await other.do(what, id)
                with trio.fail_after(30):
                    *event, arrived = await noted.receive()
                assert event == [action, id]
                took.append(arrived - done)
        nursery.cancel_scope.cancel()
    # Each change comes right behind a look, and so waits for the next. The one that waited least tells how often the
    # registry looks; the others, how busy the machine is.
    assert min(took) < 0.2, took


async def test_the_record_of_a_killed_process_goes_when_its_time_has_passed(path: Path) -> None:
    async with SqliteRegistry(str(path)) as registry, registry.watch() as events, other_process(path) as other:
        before = monotonic()
        done = await other.do("register", "short", 0.8)
        assert await next_of(events) == (Action.CREATE, "short")
        other.process.send_signal(signal.SIGKILL)
        assert await next_of(events) == (Action.DELETE, "short")
        assert before + 0.8 <= monotonic()
        assert monotonic() < done + 0.8 + 20  # far less, but on a busy machine
        assert await registry.list() == ()


async def test_many_processes_register_at_once(path: Path) -> None:
    async def register_many(who: int) -> None:
        async with other_process(path) as other:
            for number in range(20):
                await other.do("register", f"{who}-{number}")

    async with SqliteRegistry(str(path)) as registry:
        async with trio.open_nursery() as nursery:
            for who in range(5):
                nursery.start_soon(register_many, who)
        [service] = await registry.get("greeter")
        assert len(service.instances) == 100


async def test_many_registries_open_a_new_file_at_once(path: Path) -> None:
    async def open_and_register(id: str) -> None:
        async with SqliteRegistry(str(path)) as registry:
            await registry.register(a(id))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(open_and_register, str(number))
    async with SqliteRegistry(str(path)) as registry:
        [service] = await registry.list()
        assert len(service.instances) == 10


async def test_a_locked_file_holds_up_neither_the_loop_nor_a_cancellation(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 50)
    async with SqliteRegistry(str(path)) as registry:
        with locked(path):
            start = monotonic()
            with trio.move_on_after(0.1) as cancelled:
                await registry.register(a("1"))
            assert cancelled.cancelled_caught
            assert monotonic() - start < sqlite.PATIENCE / 2
            assert await registry.list() == ()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(registry.register, a("2"))
                with trio.move_on_after(0.05):
                    await trio.sleep_forever()
                assert await registry.list() == ()
                # What waits goes on as soon as the lock is gone.
                nursery.start_soon(registry.register, a("3"))
                nursery.cancel_scope.cancel()
        await registry.register(a("4"))
        [service] = await registry.list()
        assert [instance.id for instance in service.instances] == ["4"]


async def test_whoever_waits_for_a_lock_gets_it(path: Path) -> None:
    async with SqliteRegistry(str(path)) as registry, trio.open_nursery() as nursery:
        with locked(path):
            nursery.start_soon(registry.register, a("1"))
            with trio.move_on_after(0.05):  # longer than a few tries take
                await trio.sleep_forever()
            assert await registry.list() == ()
        async with registry.watch() as events:
            assert await next_of(events) == (Action.CREATE, "1")


async def test_a_file_that_stays_locked_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)
    async with SqliteRegistry(str(path)) as registry:
        with locked(path), pytest.raises(Unavailable, match=rf"{path}.*locked by another process"):
            await registry.register(a("1"))
        await registry.register(a("1"))


async def test_a_lock_that_lasts_is_tried_for_ever_more_seldom(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 0.5)
    tries = 0

    class Counted(Database):
        def put(self, records: Mapping[Key, Service], ttl: float) -> None:
            nonlocal tries
            tries += 1
            super().put(records, ttl)

    monkeypatch.setattr(sqlite, "Database", Counted)
    async with SqliteRegistry(str(path)) as registry:
        with locked(path), pytest.raises(Unavailable, match="locked"):
            await registry.register(a("1"))
    assert tries < 40, "every few milliseconds it would be a hundred"


class Clock:
    """The one that times to live are told by: it goes on by itself, and jumps."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return monotonic() + self.ahead

    def watched_by(self, registry: SqliteRegistry) -> None:
        assert registry._database is not None
        registry._database._clock = self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """With it a record runs out when the test wants it to, however long the test itself is kept waiting."""
    clock = Clock()
    monkeypatch.setattr(sqlite, "time", SimpleNamespace(monotonic=clock))
    return clock


async def test_nothing_is_told_as_gone_while_a_lock_keeps_everybody_from_renewing(path: Path, clock: Clock) -> None:
    async with SqliteRegistry(str(path)) as registry, registry.watch() as events:
        clock.watched_by(registry)
        await registry.register(a("1"), ttl=600)
        assert await next_of(events) == (Action.CREATE, "1")
        with locked(path), trio.move_on_after(0.3):
            clock.ahead = 600
            await anext(events)
            pytest.fail("nobody could renew it")
        assert await next_of(events) == (Action.DELETE, "1")


async def test_a_lock_that_lasts_while_records_run_out_is_told_to_watchers(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 0.3)
    monkeypatch.setattr(sqlite, "SWEEP_PATIENCE", 0.2)
    async with SqliteRegistry(str(path)) as registry, registry.watch() as events:
        clock.watched_by(registry)
        await registry.register(a("1"), ttl=600)
        assert await next_of(events) == (Action.CREATE, "1")
        with locked(path):
            clock.ahead = 600
            with pytest.raises(Unavailable, match=r"locked by another process for 0\.2 s"):
                await next_of(events)
            with pytest.raises(Unavailable, match=r"locked by another process for 0\.3 s"):
                async with registry.watch():
                    pass
        assert await next_of(events) == (Action.DELETE, "1")


@pytest.mark.parametrize("emptied", [False, True], ids=["removed", "emptied"])
async def test_a_removed_file_is_made_anew_and_watchers_follow(path: Path, emptied: bool) -> None:
    async with SqliteRegistry(str(path)) as ours, SqliteRegistry(str(path)) as theirs, theirs.watch() as events:
        await ours.register(a("1"))
        await ours.register(a("2"))
        assert await next_of(events) == (Action.CREATE, "1")
        assert await next_of(events) == (Action.CREATE, "2")
        for file in [path] if emptied else path.parent.glob("registry.db*"):
            os.truncate(file, 0) if emptied else file.unlink()
        await ours.register(a("2"))  # as it does to renew
        with pytest.raises(Unavailable, match=r"registry\.db was removed"):
            await next_of(events)
        assert await next_of(events) == (Action.DELETE, "1")
        assert await ours.get("greeter") == await theirs.get("greeter") == (a("2"),)
        await ours.register(a("3"))
        seen = [await next_of(events)]
        # The watcher may have come before what was renewed, or after.
        while seen[-1] != (Action.CREATE, "3"):
            seen.append(await next_of(events))
        assert seen in (
            [(Action.CREATE, "3")],
            [(Action.DELETE, "2"), (Action.CREATE, "2"), (Action.CREATE, "3")],
        )


async def test_no_file_stays_open(path: Path) -> None:
    def open_files() -> list[str]:
        links = (os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd"))
        return [name for name in map(os.path.realpath, links) if str(path.parent) in name]

    async with SqliteRegistry(str(path)) as registry, registry.watch() as events:
        await registry.register(a("1"))
        await next_of(events)
        assert open_files()
    assert open_files() == []
    await trio.Path(path).write_text("no database" * 100)
    with pytest.raises(BadRequest):
        await SqliteRegistry(str(path)).__aenter__()
    assert open_files() == []


async def test_a_cancelled_program_closes_its_file(path: Path) -> None:
    with trio.CancelScope() as scope:
        async with SqliteRegistry(str(path)) as registry, registry.watch() as events:
            scope.cancel()
            await anext(events)
    assert scope.cancelled_caught
    assert not path.with_name("registry.db-wal").exists()  # the last to close folds it in


async def test_a_directory_that_is_missing_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    async with SqliteRegistry(str(tmp_path / "a" / "b" / "registry.db")) as registry:
        await registry.register(a("1"))
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


async def test_without_an_address_it_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    async with SqliteRegistry() as registry:
        assert registry.address == str(tmp_path / "micro" / "registry.db")
        assert (tmp_path / "micro" / "registry.db").exists()


async def test_a_default_place_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "micro").symlink_to("/")
    with pytest.raises(Forbidden, match="--registry-address"):
        async with SqliteRegistry():
            pytest.fail("it opened")


@pytest.mark.parametrize("place", ["file/registry.db", "/proc/nobody/makes/this/registry.db"])
async def test_a_place_that_cannot_be_is_named_with_what_to_do(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match=rf"{place}.*--registry-address"):
        async with SqliteRegistry(str(tmp_path / place)):
            pytest.fail("it opened")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_directory_that_is_not_writable_is_named_with_what_to_do(tmp_path: Path) -> None:
    await trio.Path(tmp_path).chmod(0o500)
    with pytest.raises(Unavailable, match=rf"{tmp_path}.*make its directory writable"):
        async with SqliteRegistry(str(tmp_path / "registry.db")):
            pytest.fail("it opened")


async def test_a_registry_that_could_not_be_opened_is_closed(path: Path) -> None:
    await trio.Path(path).mkdir()
    registry = SqliteRegistry(str(path))
    with pytest.raises(Unavailable):
        await registry.__aenter__()
    with pytest.raises(trio.ClosedResourceError):
        await registry.list()


def test_sqlite_is_loaded_only_where_it_is_used() -> None:
    code = (
        "import sys; from sdk.registry import open_registry;"
        "open_registry('memory'); assert 'sqlite3' not in sys.modules;"
        "open_registry('sqlite'); assert 'sqlite3' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
