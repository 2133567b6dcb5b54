"""What of Kubernetes' interface a registry uses, as its documentation has it: EndpointSlices listed and watched.

Pages with `continue`, watches with `resourceVersion` and bookmarks, 410 for a version that is no longer kept, and
bearer tokens. Slices are made, replaced and deleted as controllers do it; what a real server refuses is refused: labels
that are not 63 characters of ASCII at most, and more than 1,000 endpoints.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from tests.sdk.registry.threadserver import Asked, Said, ThreadServer


def slice_of(path: str, /, *pods: str, service: str = "greeter", port: int = 80, **labels: str) -> dict[str, Any]:
    """A slice as Kubernetes writes it; each pod has its own address, and one that ends in a `!` is not ready."""
    return {
        "metadata": {
            "namespace": "shop",
            "name": path,
            "labels": {
                "kubernetes.io/service-name": service,
                **{f"micro.mu/{key}": value for key, value in labels.items()},
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": ["10.0.0.1"],
                "conditions": {"ready": not pod.endswith("!")},
                "targetRef": {"kind": "Pod", "name": pod.rstrip("!")},
            }
            for pod in pods
        ],
    }


SHOP: Final = "/apis/discovery.k8s.io/v1/namespaces/shop"
LABEL: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
"""What the value of a label may be (Kubernetes documentation, Labels and Selectors)."""


class KubeServer(ThreadServer):
    def __init__(self) -> None:
        super().__init__()
        self.version = 100
        self.oldest = 100
        """The oldest version whose changes are kept."""
        self.token = "t0ken"
        self.slices: dict[str, dict[str, Any]] = {}
        self.log: list[tuple[int, dict[str, Any]]] = []
        self.ending = 0
        """How many times watches were told to end."""
        self.watches = 0
        self.hanging = False
        self.refused: set[str] = set()
        """Verbs that the account may not use."""
        self.page_tokens_expire = 0
        """How many requests for a further page come too late."""
        self.pages_repeat = False
        """Whether after each page there is one more."""
        self.nonsense = 0
        """How many watches say one line that means nothing, and more than that only when they are ended."""
        self.date = ""
        """What it takes the time to be; empty: the time it is."""

    def put(self, item: dict[str, Any]) -> None:
        with self.changed:
            name = item["metadata"]["name"]
            self._say("MODIFIED" if name in self.slices else "ADDED", item)
            self.slices[name] = item

    def delete(self, name: str) -> None:
        with self.changed:
            self._say("DELETED", self.slices.pop(name))

    def bookmark(self) -> None:
        with self.changed:
            self._say("BOOKMARK", {"kind": "EndpointSlice", "metadata": {}})

    def hang(self) -> None:
        """Keeps every connection and says nothing, until `resume`."""
        with self.changed:
            self.hanging = True

    def resume(self) -> None:
        with self.changed:
            self.hanging = False
            self.changed.notify_all()

    def take_out(self, name: str, id: str) -> None:
        """The pod is gone from the slices of its Service."""
        with self.changed:
            for item in list(self.slices.values()):
                left = [each for each in item["endpoints"] if each["targetRef"]["name"] != id]
                if item["metadata"]["labels"]["kubernetes.io/service-name"] == name and left != item["endpoints"]:
                    self.put({**item, "endpoints": left})

    def say(self, event: dict[str, Any]) -> None:
        """What no server should say in a watch."""
        with self.changed:
            self.version += 1
            self.log.append((self.version, event))
            self.changed.notify_all()

    def compact(self) -> None:
        """Keeps no changes of before."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.log.clear()

    def end_watches(self) -> None:
        """As after `timeoutSeconds`."""
        with self.changed:
            self.ending += 1
            self.changed.notify_all()

    def wait_for_watches(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.watches >= count, 10)

    def break_watches(self, code: int) -> None:
        with self.changed:
            self.log.append((self.version + 1, {"type": "ERROR", "object": {"code": code, "message": "as asked"}}))
            self.version += 1
            self.oldest = self.version
            self.changed.notify_all()

    def answer(self, asked: Asked) -> Said:
        with self.changed:
            self.changed.wait_for(lambda: not (self.hanging and self.running))
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return Said(401, {"code": 401})
        if asked.path == "/version":
            return Said(200, {})
        place, _, name = asked.path.partition("/endpointslices/")
        if name or asked.method != "GET":
            return self._write(asked, name)
        if place != f"{SHOP}/endpointslices" or ("watch" if "watch" in asked.query else "list") in self.refused:
            return Said(403, {"code": 403})
        selector = asked.query["labelSelector"].split(",")
        assert selector[0].partition("=")[0] == "kubernetes.io/service-name"
        with self.changed:
            if "watch" in asked.query:
                since = int(asked.query["resourceVersion"])
                if since < self.oldest:
                    return Said(410, {"code": 410})
                if since > self.version:
                    return Said(504, {"code": 504, "message": "Too large resource version"})
                self.watches += 1
                nonsense = self.nonsense > 0
                self.nonsense -= nonsense
                self.changed.notify_all()
                return Said(200, headers=self._date(), lines=self._lines(since, self.ending, nonsense))
            return self._list(asked, [item for item in self.slices.values() if _selected(item, selector)])

    def _list(self, asked: Asked, items: list[dict[str, Any]]) -> Said:
        if "continue" in asked.query and self.page_tokens_expire:
            self.page_tokens_expire -= 1
            return Said(410, {"code": 410, "reason": "Expired"})
        start, limit = int(asked.query.get("continue", 0)), int(asked.query.get("limit", len(items)))
        about = {"resourceVersion": str(self.version)}
        if self.pages_repeat or start + limit < len(items):
            about["continue"] = str(start + limit)
        return Said(200, {"metadata": about, "items": items[start : start + limit]}, self._date())

    def _date(self) -> dict[str, str]:
        return {"date": self.date} if self.date else {}

    def _write(self, asked: Asked, name: str) -> Said:
        item = asked.json
        if item is not None:
            name = item["metadata"]["name"]
            labels = item["metadata"]["labels"].values()
            if not all(LABEL.fullmatch(value) for value in labels) or len(item["endpoints"]) > 1000:
                return Said(422, {"code": 422})
        with self.changed:
            if (name in self.slices) is (asked.method == "POST"):
                return Said(409 if asked.method == "POST" else 404, {})
            if asked.method == "DELETE":
                self.delete(name)
            else:
                self.put({**item, "metadata": {**item["metadata"], "namespace": "shop"}})
            return Said(201 if asked.method == "POST" else 200, item)

    def _say(self, kind: str, item: dict[str, Any]) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((self.version, {"type": kind, "object": item}))
        self.changed.notify_all()

    def _lines(self, since: int, ending: int, nonsense: bool) -> Iterator[dict[str, Any]]:
        if nonsense:
            yield {"type": "NONSENSE"}
        while True:
            with self.changed:
                while (
                    self.running
                    and self.ending == ending
                    and (self.hanging or not any(at > since for at, _ in self.log))
                ):
                    self.changed.wait(0.2)
                left = [told for told in self.log if told[0] > since]
                if not self.running or not left:
                    return
                since, event = left[0]
            yield event
            if event["type"] == "ERROR":
                return


def _selected(item: dict[str, Any], selector: list[str]) -> bool:
    labels = item["metadata"]["labels"]
    wanted = (each.partition("=") for each in selector)
    return all(name in labels and (not equals or labels[name] == value) for name, equals, value in wanted)
