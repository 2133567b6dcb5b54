"""The calls that were opened at a node lately: the last thousand, and a line in the log for those that went wrong.

They are shown to every node of the network, and logs go to many hands. So of a call is kept who was called, and nothing
of its metadata; and of a path not what stands behind its question mark, where programs put tokens, codes and addresses.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from proxy.calls import CallRecord
from sdk.errors import Status
from sdk.head import CallHead
from sdk.wire.frame import ID_SIZE

from .records import Record
from .restraint import OTHERS, WINDOW, Restraint

KEPT: Final = 1000
"""Calls that are remembered."""

SLOW: Final = 1.0
"""Seconds from which on a call that went well is worth a line."""

QUIET: Final = frozenset((Status.OK, Status.CANCELLED, Status.NOT_FOUND, Status.UNIMPLEMENTED))
"""How calls may end that nobody has to be told of: well, or by the caller's own doing …"""

_CALLERS_OWN: Final = range(400, 500)
"""… likewise in HTTP."""

MAX_TEXT: Final = 256
"""Characters of a name or path that are kept: the callers choose them, and there is room for 64 KiB in a head."""

_log = logging.getLogger("micro.calls")


class Calls:
    """Takes the records of a switch."""

    def __init__(self, *, log_all: bool, name_of: Callable[[bytes], str], clock: Callable[[], float]) -> None:
        """With `log_all` every call has its line, else the first of those of each service that went wrong or were slow,
        and then how many there were more; `name_of` says what people call a node."""
        self._kept: deque[CallRecord] = deque(maxlen=KEPT)
        self._log_all = log_all
        self._name_of = name_of
        self._clock = clock
        self._restraint = Restraint()

    def take(self, record: CallRecord) -> None:
        """One call is over."""
        head = record.head
        size = len(head.service) + len(head.endpoint) + len(head.protocol)
        if head.metadata or head.content_type or size > MAX_TEXT or "?" in head.endpoint:
            record = CallRecord(_who(head), *record[1:])
        self._kept.append(record)
        slow = record.ended - record.opened >= SLOW
        well = record.status in QUIET or record.status in _CALLERS_OWN
        if record.ended >= self._restraint.until:
            self._tell_of_others()
        if self._log_all or ((slow or not well) and self._restraint.may_tell(record.head.service, record.ended)):
            _log.log(logging.INFO if well else logging.WARNING, "%s", self._line(record))

    def _tell_of_others(self) -> None:
        for service, count in self._restraint.withheld():
            whose = "other services" if service == OTHERS else service
            _log.warning(
                "%s: %d more calls went wrong or took over %g s, within %g s; `micro network calls` shows the last",
                whose, count, SLOW, WINDOW,
            )  # fmt: skip

    def latest(self, count: int = KEPT, service: str = "") -> list[Record]:
        """The last calls, of one service where that is said, newest first."""
        return [self._record(each) for each in islice(self._of(service), count)]

    def _of(self, service: str) -> Iterator[CallRecord]:
        return (each for each in reversed(self._kept) if not service or each.head.service == service)

    def _record(self, call: CallRecord) -> Record:
        nodes = [self._name_of(call.path[at : at + ID_SIZE]) for at in range(0, len(call.path), ID_SIZE)]
        return {
            "service": call.head.service,
            "endpoint": call.head.endpoint,
            "protocol": call.head.protocol,
            "origin": nodes[-1] if nodes else "",
            "path": nodes,
            "tries": call.tries,
            "status": status_name(call.status),
            "ms": round((call.ended - call.opened) * 1000, 1),
            "ago_s": round(max(0.0, self._clock() - call.ended), 1),
        }

    def _line(self, call: CallRecord) -> str:
        record = self._record(call)
        way = f" over {' '.join(record['path'])}" if record["path"] else ""
        tries = f" after {call.tries} tries" if call.tries > 1 else ""
        return (
            f"{record['protocol']} {record['service']} {record['endpoint']}: {record['status']} in {record['ms']} ms"
            f"{tries}{way}"
        )


def _who(head: CallHead) -> CallHead:
    """Who was called, without anything that may be secret or long."""
    path, mark, _ = head.endpoint.partition("?")
    return CallHead(_short(head.service), _short(path) + ("?…" if mark else ""), _short(head.protocol))


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def status_name(status: int) -> str:
    """A gRPC status in its own word, or one of HTTP; the number where it is neither."""
    try:
        return Status(status).name
    except ValueError:
        return f"HTTP {status}" if status >= _CALLERS_OWN.start else str(status)
