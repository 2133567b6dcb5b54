"""What of Consul's HTTP interface a registry uses, as its documentation has it: one agent that is its own server.

Blocking queries with `index` and `wait`, `X-Consul-Index`, checks with a time to live, filters, tokens, and the limits
of what may be registered. As a real one does, the agent answers before it tells the catalog: `lag` seconds later.
"""

import posixpath
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.sdk.registry.threadserver import Asked, Said, ThreadServer

LONGEST_ENTRY = 512 * 1024
"""Bytes of a registration above which Consul's servers suffer; this one refuses them."""

_META_KEY = re.compile(r"[a-zA-Z0-9_-]{1,128}")


class ConsulServer(ThreadServer):
    def __init__(self, token: str = "", *, lag: float = 0.0) -> None:
        super().__init__()
        self.index = 10
        self.token = token
        self.lag = lag
        self.longest_wait = 600.0
        self.services: dict[str, dict[str, Any]] = {}
        """By id, as the agent has them."""
        self.checks: dict[str, dict[str, Any]] = {}
        """By id: `Status`, and `ttl` and `until` where it has a time to live."""
        self.catalog: dict[str, tuple[dict[str, Any], str]] = {}
        """By id, as the servers have them, with the outcome of the check."""
        self.host = "passing"
        """The outcome of a check of the host that all of them run on."""
        self.hidden: set[str] = set()
        """Names of services that the token may not read."""
        self.trouble: Callable[[Asked], Said | None] = lambda _: None
        """What is said instead, where it is anything."""
        self.hanging = False
        self._changes = 10
        self._telling = False

    def answer(self, asked: Asked) -> Said:
        return self.answer_of(self, asked)

    def answer_of(self, agent: ThreadServer, asked: Asked) -> Said:
        """What `agent` answers, which may be another one."""
        if self.token and asked.headers.get("x-consul-token") != self.token:
            return Said(403, b"Permission denied")
        path = asked.path
        if not path.isprintable():
            return Said(400, b"request path contains unprintable characters")
        if posixpath.normpath(path) != path:
            return Said(301, b"Moved Permanently")
        with self.changed:
            self.changed.wait_for(lambda: not self.hanging or not agent.running)
            if (said := self.trouble(asked)) is not None:
                return said
            self._expire()
            if path.startswith("/v1/agent/"):
                return self._agent(path, asked) if agent is self else Said(404, b"Unknown service ID")
            self._block(agent, asked)
            return self._read(asked)

    def move(self) -> None:
        """The catalog is told what the agent has, after a while."""
        self._changes += 1
        if not self.lag:
            self._tell()
        elif not self._telling:
            self._telling = True
            timer = threading.Timer(self.lag, self._tell)
            timer.daemon = True
            timer.start()

    def take_out(self, name: str, id: str) -> None:
        """What an operator might do behind everybody's back."""
        with self.changed:
            assert self.services[id]["Service"] == name
            self._deregister(id)

    def forget(self) -> None:
        """As when agent and servers were started anew without their data, or were restored from a copy."""
        with self.changed:
            self.services.clear()
            self.checks.clear()
            self.catalog.clear()
            self.index = self._changes = 3

    def reap(self) -> None:
        """As when the checks have been critical for longer than `DeregisterCriticalServiceAfter`."""
        with self.changed:
            for id in [check.removeprefix("service:") for check, one in self.checks.items() if one.get("reaped")]:
                if self.checks[f"service:{id}"]["Status"] == "critical":
                    self._deregister(id)

    def hang(self) -> None:
        """Keeps every connection and says nothing, until `resume`."""
        with self.changed:
            self.hanging = True

    def resume(self) -> None:
        with self.changed:
            self.hanging = False
            self.changed.notify_all()

    def compact(self) -> None:
        """There is nothing to do: it keeps no changes of before."""

    def put(self, service: dict[str, Any]) -> None:
        with self.changed:
            self._register(service, replace=True)

    def set_check(self, id: str, status: str) -> None:
        with self.changed:
            self.checks[id]["Status"] = status
            self.move()

    def _tell(self) -> None:
        with self.changed:
            self._telling = False
            self.index = self._changes
            self.catalog = {id: (service, self._status(id)) for id, service in self.services.items()}
            self.changed.notify_all()

    def _agent(self, path: str, asked: Asked) -> Said:
        if path == "/v1/agent/service/register":
            return self._register(asked.json, asked.query.get("replace-existing-checks") == "true")
        for beginning, act in (
            ("/v1/agent/service/deregister/", self._deregister),
            ("/v1/agent/check/pass/", self._pass),
            ("/v1/agent/service/", self._tell_of),
        ):
            if id := path.removeprefix(beginning):
                if id != path:
                    return act(id)
        return Said(404, b"no such path")

    def _block(self, agent: ThreadServer, asked: Asked) -> None:
        wanted = int(asked.query.get("index", 0))
        if not wanted:
            return
        ends = time.monotonic() + min(_seconds(asked.query.get("wait", "300s")), self.longest_wait)
        while agent.running and self.index <= wanted and (left := ends - time.monotonic()) > 0:
            runs_out = min((check["until"] for check in self.checks.values() if "until" in check), default=ends)
            self.changed.wait(min(left, max(runs_out - time.monotonic(), 0.001)))
            self._expire()

    def _read(self, asked: Asked) -> Said:
        told = {"X-Consul-Index": str(self.index)}
        if self.token:
            told["X-Consul-Results-Filtered-By-ACLs"] = "false"
        seen = {id: one for id, one in self.catalog.items() if one[0]["Service"] not in self.hidden}
        partial = told | {"X-Consul-Results-Filtered-By-ACLs": "true"}
        if asked.path == "/v1/catalog/services":
            names: dict[str, list[str]] = {"consul": []}
            for one, _ in seen.values():
                names.setdefault(one["Service"], []).extend(one["Tags"] or [])
            return Said(200, names, told if len(seen) == len(self.catalog) else partial)
        if asked.path == "/v1/health/state/any":
            return Said(200, [{"CheckID": f"service:{id}", "Status": one[1]} for id, one in seen.items()], told)
        name = asked.path.removeprefix("/v1/health/service/")
        if name == asked.path:
            return Said(404, b"no such path")
        found = [one for one in self.catalog.values() if one[0]["Service"] == name]
        if text := asked.query.get("filter"):
            wanted = re.fullmatch(r'Service\.ID == "([^"]*)"', text)
            assert wanted is not None, text
            id = re.sub(r"\\(\\|x22)", lambda mark: '"' if mark[1] == "x22" else mark[1], wanted[1])
            found = [one for one in found if one[0]["ID"] == id]
        entries = [
            {"Node": {"Node": "one", "Address": "192.0.2.7"}, "Service": one, "Checks": checks}
            for one, status in found
            if (checks := [{"Status": status}, {"Status": self.host}]) and name not in self.hidden
        ]
        return Said(200, entries, partial if found and name in self.hidden else told)

    def _register(self, wanted: dict[str, Any], replace: bool) -> Said:
        if refused := _refused(wanted):
            return refused
        id = wanted.get("ID") or wanted["Name"]
        before = self.services.get(id, {})
        service = {
            "ID": id,
            "Service": wanted["Name"],
            "Tags": wanted.get("Tags"),
            "Meta": wanted.get("Meta"),
            "Address": wanted.get("Address", ""),
            "Port": wanted.get("Port", 0),
        }
        if replace:
            self.checks.pop(f"service:{id}", None)
        if check := wanted.get("Check"):
            ttl = _seconds(check["TTL"])
            self.checks[f"service:{id}"] = {
                "Status": check.get("Status", "critical"),
                "ttl": ttl,
                "until": time.monotonic() + ttl,
                "reaped": "DeregisterCriticalServiceAfter" in check,
            }
        if {name: before.get(name) for name in service} != service:
            self.services[id] = {**service, "ModifyIndex": self._changes + 1}
        self.move()
        return Said(200, b"")

    def _deregister(self, id: str) -> Said:
        if self.services.pop(id, None) is None:
            return Said(404, b"Unknown service ID")
        self.checks.pop(f"service:{id}", None)
        self.move()
        return Said(200, b"")

    def _pass(self, id: str) -> Said:
        if id not in self.checks:
            return Said(404, b"Unknown check ID")
        check = self.checks[id]
        check["until"] = time.monotonic() + check["ttl"]
        if check["Status"] != "passing":
            check["Status"] = "passing"
            self.move()
        return Said(200, b"")

    def _tell_of(self, id: str) -> Said:
        return Said(200, self.services[id]) if id in self.services else Said(404, b"unknown service ID")

    def _status(self, id: str) -> str:
        status: str = self.checks.get(f"service:{id}", {"Status": "passing"})["Status"]
        return status

    def _expire(self) -> None:
        now = time.monotonic()
        for check in self.checks.values():
            if check.get("until", now + 1) <= now:
                del check["until"]
                check["Status"] = "critical"
                self.move()


class OtherAgent(ThreadServer):
    """An agent of another host, with the same servers and nothing registered."""

    def __init__(self, servers: ConsulServer) -> None:
        super().__init__()
        self.changed = servers.changed
        self._servers = servers

    def answer(self, asked: Asked) -> Said:
        return self._servers.answer_of(self, asked)


def _refused(wanted: dict[str, Any]) -> Said | None:
    """As the documentation of `/v1/agent/service/register` limits it."""
    meta = wanted.get("Meta") or {}
    if len(meta) > 64 or any(_META_KEY.fullmatch(key) is None or len(meta[key].encode()) > 512 for key in meta):
        return Said(400, b"Invalid Service Meta")
    if wanted.get("Address") in {"0.0.0.0", "::"}:
        return Said(400, b"Invalid service address")
    if len(str(wanted)) > LONGEST_ENTRY:
        return Said(413, b"Request body too large")
    return None


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9.]+)(ms|s|m)", text)
    assert found is not None, text
    return float(found[1]) * {"ms": 0.001, "s": 1, "m": 60}[found[2]]
