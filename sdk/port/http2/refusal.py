"""The answer to an HTTP request that leads nowhere: its status, why in plain words, and what kind of failure it was in
`Proxy-Status` (RFC 9209)."""

from sdk.errors import Status
from sdk.wire.frame import Reset
from sdk.wire.hpack import Headers

_ANSWERS = {
    Status.NOT_FOUND: (404, "destination_not_found"),
    Status.UNIMPLEMENTED: (501, "destination_unavailable"),
    Status.UNAVAILABLE: (503, "destination_unavailable"),
    Status.DEADLINE_EXCEEDED: (504, "connection_timeout"),
    Status.RESOURCE_EXHAUSTED: (429, "connection_limit_reached"),
    Status.UNAUTHENTICATED: (407, "http_request_denied"),
    Status.PERMISSION_DENIED: (403, "http_request_denied"),
    Status.INVALID_ARGUMENT: (400, "http_request_error"),
}
_OTHERWISE = (502, "http_response_incomplete")


def refusal(reset: Reset, status: int = 0) -> tuple[Headers, bytes]:
    """Header list and body that say how a call was reset; `status` is the HTTP status, where it is a special one."""
    number, kind = _ANSWERS.get(Status(reset.status), _OTHERWISE)
    text = f"{reset.detail}\n".encode(errors="replace")
    quoted = reset.detail.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    details = "".join(letter if letter.isprintable() else "?" for letter in quoted)
    challenge = ("proxy-authenticate", 'Basic realm="micro"') if number == 407 else ()
    headers = (
        ":status", str(status or number), *challenge,
        "proxy-status", f'micro; error={kind}; details="{details}"',
        "content-type", "text/plain; charset=utf-8", "content-length", str(len(text)),
    )  # fmt: skip
    return headers, text
