"""What a call goes through on its way to the back end: hops, one after the other, on loopback.

Each contender is measured as one proxy, and as a pair of them with mutual TLS between: each end has a key, and believes
the certificate of the other alone.
"""

import contextlib
import enum
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import calls
from benchmarks.calls import Ports
from benchmarks.contenders import End, free_port, make_certificate
from benchmarks.processes import running

PATIENCE = 20.0
"""Seconds that a chain may take until it carries its first calls."""

PAUSE = 0.05
"""Seconds between two looks whether something has started."""

CHECKED = 0.5
"""Seconds that such a look takes, about."""

Processes = list[subprocess.Popen[bytes]]


class Role(enum.Enum):
    """Where a hop stands."""

    ALONE = "alone"
    """Plain on both sides."""
    NEAR = "near"
    """At the callers: plain towards them, TLS towards the far hop."""
    FAR = "far"
    """At the back end: TLS towards the near hop, plain towards the back end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One proxy to start."""

    role: Role
    listen: Ports
    """Where it is called."""
    to: Ports
    """Whom it calls."""
    folder: Path
    """Its own, for its configuration."""
    own: Path
    """Its key and certificate, which names `far`; only a hop of a pair has them."""
    other: Path
    """Those of the other hop, to believe its certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A contender that runs."""

    ports: Ports
    """Where its first hop is called."""
    processes: Processes
    """Of all hops; empty when the calls reach the back end themselves."""
    log: Path
    """What they print."""


class Contender(ABC):
    """One kind of chain."""

    name: str
    """What --only and the tables call it."""

    @abstractmethod
    def missing(self) -> str | None:
        """What is not installed; None when nothing is."""

    @abstractmethod
    def start(self, backend: Ports, folder: Path, stack: contextlib.ExitStack) -> Chain:
        """Starts it, in an empty folder, until `stack` closes; raises OSError when it cannot be."""


class Direct(Contender):
    """Nothing between: the limit of the load and the back end."""

    name = "direct"

    def missing(self) -> str | None:
        """Nothing is needed."""
        return None

    def start(self, backend: Ports, folder: Path, stack: contextlib.ExitStack) -> Chain:
        """Nothing is there to start."""
        return Chain(ports=backend, processes=[], log=folder / "log")


class Proxy(ABC):
    """A program that is configured by what it writes to a hop's folder."""

    program: str
    """What it is called where it is installed."""

    @abstractmethod
    def end(self, program: str, hop: Hop) -> End:
        """Writes the hop's configuration; returns how `program` is run with it."""


class Proxies(Contender):
    """One such program, or a pair."""

    def __init__(self, proxy: Proxy, roles: Sequence[Role], paths: str) -> None:
        self.name = proxy.program if len(roles) == 1 else f"{proxy.program}-pair"
        self._proxy = proxy
        self._roles = roles
        self._paths = paths

    def missing(self) -> str | None:
        """The program, unless it is on the paths."""
        return None if shutil.which(self._proxy.program, path=self._paths) else self._proxy.program

    def start(self, backend: Ports, folder: Path, stack: contextlib.ExitStack) -> Chain:
        """From the back end to the callers."""
        program = shutil.which(self._proxy.program, path=self._paths)
        assert program
        folders = {role: folder / role.value for role in self._roles}
        for each in folders.values():
            each.mkdir()
        certificates: dict[Role, Path] = {}
        if Role.ALONE not in folders:
            certificates = {role: make_certificate(each) for role, each in folders.items()}
        ports = backend
        processes: Processes = []
        log = folder / "log"
        for role in reversed(self._roles):
            hop = Hop(
                role=role,
                listen=Ports(http=free_port(), grpc=free_port()),
                to=ports,
                folder=folders[role],
                own=certificates.get(role, Path()),
                other=certificates.get(Role.NEAR if role is Role.FAR else Role.FAR, Path()),
            )
            end = self._proxy.end(program, hop)
            processes.append(stack.enter_context(running(end.command, log, end.env)))
            ports = hop.listen
        return Chain(ports=ports, processes=processes, log=log)


def until_carries(name: str, chain: Chain, protocols: Sequence[str]) -> None:
    """Until calls of all the protocols are answered; raises OSError when PATIENCE is over, or a process ends before."""
    why = "it did not listen"
    waited = 0.0
    while waited < PATIENCE and all(process.poll() is None for process in chain.processes):
        try:
            calls.check(chain.ports, protocols)
        except OSError as error:
            why = str(error)
        else:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            chain.processes[0].wait(PAUSE)
        waited += PAUSE + CHECKED
    printed = chain.log.read_text(errors="replace")[-2000:] if chain.log.exists() else ""
    raise OSError(f"{name} does not carry calls: {why}\nit printed:\n{printed}")
