"""What of Consul's HTTP interface a registry uses, as its documentation has it: one agent that is its own server.

Blocking queries with `index` and `wait`, `X-Consul-Index`, checks with a time to live, tokens. Unlike a real agent it
has told the catalog of a registration before it answers.
"""

import re
import time
from typing import Any

from tests.sdk.registry.threadserver import Asked, Said, ThreadServer


class ConsulServer(ThreadServer):
    def __init__(self, token: str = "") -> None:
        super().__init__()
        self.index = 10
        self.token = token
        self.longest_wait = 600.0
        self.services: dict[str, dict[str, Any]] = {}
        """By id, as the catalog has them."""
        self.checks: dict[str, dict[str, Any]] = {}
        """By id: `Status`, and `ttl` and `until` where it has a time to live."""

    def answer(self, asked: Asked) -> Said:
        if self.token and asked.headers.get("x-consul-token") != self.token:
            return Said(403, b"Permission denied")
        path = asked.path
        if not path.isprintable():
            return Said(400, b"request path contains unprintable characters")
        with self.changed:
            self._expire()
            if path == "/v1/agent/service/register":
                return self._register(asked.json, asked.query.get("replace-existing-checks") == "true")
            if id := path.removeprefix("/v1/agent/service/deregister/"):
                if id != path:
                    return self._deregister(id)
            if id := path.removeprefix("/v1/agent/check/pass/"):
                if id != path:
                    return self._pass(id)
            if id := path.removeprefix("/v1/agent/service/"):
                if id != path:
                    return Said(200, self.services[id]) if id in self.services else Said(404, b"unknown service ID")
            self._block(asked)
            return self._read(asked)

    def move(self) -> None:
        self.index += 1
        self.changed.notify_all()

    def forget(self, id: str) -> None:
        """What an operator might do."""
        with self.changed:
            self._deregister(id)

    def put(self, service: dict[str, Any]) -> None:
        with self.changed:
            self._register(service, replace=True)

    def set_check(self, id: str, status: str) -> None:
        with self.changed:
            self.checks[id]["Status"] = status
            self.move()

    def _block(self, asked: Asked) -> None:
        wanted = int(asked.query.get("index", 0))
        if not wanted:
            return
        ends = time.monotonic() + min(_seconds(asked.query.get("wait", "300s")), self.longest_wait)
        while self.running and self.index <= wanted and (left := ends - time.monotonic()) > 0:
            runs_out = min((check["until"] for check in self.checks.values() if "until" in check), default=ends)
            self.changed.wait(min(left, max(runs_out - time.monotonic(), 0.001)))
            self._expire()

    def _read(self, asked: Asked) -> Said:
        told = {"X-Consul-Index": str(self.index)}
        if asked.path == "/v1/catalog/services":
            names: dict[str, list[str]] = {"consul": []}
            for one in self.services.values():
                names.setdefault(one["Service"], []).extend(one["Tags"] or [])
            return Said(200, names, told)
        if asked.path == "/v1/health/state/any":
            return Said(200, [{"CheckID": id, "Status": check["Status"]} for id, check in self.checks.items()], told)
        name = asked.path.removeprefix("/v1/health/service/")
        if name == asked.path:
            return Said(404, b"no such path")
        entries = [
            {"Node": {"Node": "one", "Address": "192.0.2.7"}, "Service": one, "Checks": []}
            for one in self.services.values()
            if one["Service"] == name and ("passing" not in asked.query or self._passing(one["ID"]))
        ]
        return Said(200, entries, told)

    def _register(self, wanted: dict[str, Any], replace: bool) -> Said:
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
            for one in [check for check in self.checks if check == f"service:{id}"]:
                del self.checks[one]
        if check := wanted.get("Check"):
            ttl = _seconds(check["TTL"])
            self.checks[f"service:{id}"] = {
                "Status": check.get("Status", "critical"),
                "ttl": ttl,
                "until": time.monotonic() + ttl,
            }
        if {name: before.get(name) for name in service} != service:
            self.services[id] = {**service, "ModifyIndex": self.index + 1}
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

    def _passing(self, id: str) -> bool:
        check = self.checks.get(f"service:{id}")
        return check is None or check["Status"] == "passing"

    def _expire(self) -> None:
        now = time.monotonic()
        for check in self.checks.values():
            if check.get("until", now + 1) <= now:
                del check["until"]
                check["Status"] = "critical"
                self.move()


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9.]+)(ms|s|m)", text)
    assert found is not None, text
    return float(found[1]) * {"ms": 0.001, "s": 1, "m": 60}[found[2]]
