"""A service whose handlers write down every call they run, before they answer it: `python -m tests.ledger`.

Each process has a file of its own in the folder `LEDGER`, with one id in a line. What was written outlives the process,
however it ends. `LEDGER_WORK` is how many milliseconds a handler takes; with `LEDGER_FAILS` every call fails, in turn
with an error that says nothing else and with one that looks like an error of the way. The same process offers as much
to programs that speak gRPC and HTTP (`tests.ledgerpeers`).
"""

import itertools
import os
from collections import Counter
from pathlib import Path
from typing import Any

import trio

from sdk import Service
from sdk.answer import ServerStream
from sdk.errors import InternalServerError, MicroError, Unavailable
from tests.ledgerpeers import Book, Peers

NAME = "ledger"

REASON = "the handler does not like it"
"""The detail of a handler's own error."""


def runs_in(folder: Path) -> Counter[str]:
    """How often each call ran."""
    return Counter(id for file in folder.iterdir() for id in file.read_text().split())


def runs_of(folder: Path, pid: int) -> Counter[str]:
    """How often each call ran in one process."""
    file = folder / str(pid)
    return Counter(file.read_text().split() if file.exists() else ())


class _Book:
    """What the handlers of one process do."""

    def __init__(self, folder: Path, work: float, fails: bool) -> None:
        # Written at once and to the end of the file: what a line says was true before its call was answered.
        self._file = os.open(folder / str(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._work = work
        self._errors = itertools.cycle((InternalServerError, Unavailable)) if fails else None

    async def work(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answers with the id of the call."""
        self.write(request["id"])
        await trio.sleep(self._work)
        self._fail()
        return request

    async def talk(self, request: dict[str, Any], stream: ServerStream) -> None:
        """Answers each message with itself."""
        self.write(request["id"])
        self._fail()
        await stream.send(request)
        async for message in stream:
            await trio.sleep(self._work)
            await stream.send(message)

    def write(self, id: str) -> None:
        """Notes that a call runs."""
        os.write(self._file, f"{id}\n".encode())

    def _fail(self) -> None:
        if self._errors is not None:
            kind: type[MicroError] = next(self._errors)
            raise kind(REASON)


def main() -> None:
    """Runs the service."""
    environment = os.environ
    work, fails = int(environment["LEDGER_WORK"]) / 1000, bool(environment.get("LEDGER_FAILS"))
    book = _Book(Path(environment["LEDGER"]), work, fails)
    service = Service(NAME)
    service.handle("Ledger.Work")(book.work)
    service.handle("Ledger.Talk")(book.talk)
    with Peers(Book(book.write, work, REASON, fails=fails)):
        service.run()


if __name__ == "__main__":
    main()
