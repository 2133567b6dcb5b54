"""The endpoints that every service has: `Debug.Health`, whether it can work, and `Debug.Stats`, what it has done.

They are called like any other, under the same rules of access; the registry does not list them.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from .health import OK, Check, Health, results
from .server import Server


class Debug:
    """The two endpoints of one service."""

    def __init__(self, server: Server) -> None:
        """Adds them to the server."""
        self.checks: dict[str, Check] = {}
        """What health depends on, by a name for people."""
        self.version = ""
        """The service's version, as the registry has it."""
        self.instance = ""
        """Likewise, the id of this instance."""
        self.health = Health.NOT_SERVING
        """Whether the service is offered; its checks come on top of that."""
        self._server = server
        self._started = 0.0
        server.add("Debug.Health", self._health, listed=False)
        server.add("Debug.Stats", self._stats, listed=False)

    def begin(self, version: str, instance: str) -> None:
        """The service starts, as this instance."""
        self.version, self.instance, self._started = version, instance, trio.current_time()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The time in which the service is offered."""
        self.health = Health.SERVING
        try:
            yield
        finally:
            self.health = Health.NOT_SERVING

    async def _health(self, request: Any) -> dict[str, Any]:
        """`status` is `serving` or `not serving`; `checks` has `ok` or what is wrong for each check."""
        found = await results(self.checks)
        well = self.health is Health.SERVING and all(text == OK for text in found.values())
        status = Health.SERVING if well else Health.NOT_SERVING
        return {**self._itself(), "status": status.value, "checks": found}

    async def _stats(self, request: Any) -> dict[str, Any]:
        """`uptime` in seconds, `memory` in bytes, tasks, calls that are open, and the counters of each endpoint."""
        endpoints = {name: stats.to_json() for name, stats in self._server.stats.items()}
        return {
            **self._itself(),
            "uptime": trio.current_time() - self._started,
            "memory": memory(),
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "open_calls": self._server.open_calls - 1,  # besides the one that asks
            "requests": sum(each["requests"] for each in endpoints.values()),
            "errors": sum(each["errors"] for each in endpoints.values()),
            "endpoints": endpoints,
        }

    def _itself(self) -> dict[str, str]:
        return {"service": self._server.name, "version": self.version, "instance": self.instance}


def memory() -> int:
    """Bytes of memory this process has in use now; where the system does not say that, the most it ever had."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource  # not every system has it

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
