"""What HTTP programs are told when the mesh itself has to answer a call: a status, a sentence, and `Proxy-Status`.

`Proxy-Status` (RFC 9209) tells such an answer from one of the service; `Micro-Fate` says whether the call may have run.
"""

from http import HTTPStatus
from typing import Final, NamedTuple

from sdk.errors import Status
from sdk.wire.frame import Fate, Reset


class Refusal(NamedTuple):
    """An answer in parts."""

    status: int
    fields: tuple[tuple[str, str], ...]
    text: str


_KINDS: Final = {
    Status.CANCELLED: (502, "connection_terminated"),
    Status.INVALID_ARGUMENT: (400, "http_request_error"),
    Status.DEADLINE_EXCEEDED: (504, "connection_timeout"),
    Status.NOT_FOUND: (404, "destination_not_found"),
    Status.PERMISSION_DENIED: (403, "http_request_denied"),
    Status.RESOURCE_EXHAUSTED: (503, "connection_limit_reached"),
    Status.UNIMPLEMENTED: (501, "destination_unavailable"),
    Status.UNAVAILABLE: (503, "destination_unavailable"),
    Status.UNAUTHENTICATED: (407, "http_request_denied"),
}
_OTHERWISE: Final = (502, "http_protocol_error")

CHALLENGE: Final = ("proxy-authenticate", 'Basic realm="micro"')
"""What goes with 407 (RFC 9110, 11.7.1)."""


def refusal(reset: Reset, special: int = 0) -> Refusal:
    """The answer to a request whose call was reset before its answer began; `special` is the HTTP status, where the
    request itself is at fault in a way that gRPC has no number for."""
    status, kind = (special, "http_request_error") if special else _KINDS.get(Status(reset.status), _OTHERWISE)
    return _refusal(status, kind, reset.detail, reset.fate)


def complaint(status: int, detail: str, fate: int) -> Refusal:
    """The answer to a request that cannot be read, or leads nowhere; `fate` is that of the call it began, if it did."""
    kind = "http_request_denied" if status == 407 else "http_request_error"
    return _refusal(status, "destination_not_found" if status == 404 else kind, detail, fate)


def refusal_bytes(refused: Refusal, *, close: bool, body: bool = True) -> bytes:
    """The answer as HTTP/1.1 has it; without `body`, as an answer to HEAD."""
    try:
        phrase = HTTPStatus(refused.status).phrase
    except ValueError:
        phrase = ""
    fields = "".join(f"{name}: {value}\r\n" for name, value in refused.fields)
    closing = "connection: close\r\n" if close else ""
    head = f"HTTP/1.1 {refused.status} {phrase}\r\n{fields}{closing}\r\n".encode()
    return head + refused.text.encode() if body else head


def _refusal(status: int, kind: str, detail: str, fate: int) -> Refusal:
    quoted = detail.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    details = "".join(letter if letter.isprintable() else "?" for letter in quoted)
    text = f"{detail}\n".encode(errors="replace").decode()
    fields = (
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", str(len(text.encode()))),
        ("proxy-status", f'micro; error={kind}; details="{details}"'),
        ("micro-fate", "not-reached" if fate == Fate.NOT_REACHED else "may-have-run"),
    )
    return Refusal(status, (*fields, CHALLENGE) if status == 407 else fields, text)
