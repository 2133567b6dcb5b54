"""What can go wrong with a call, and how each kind is told on the wire.

MicroError                 id, code, detail, status: JSON on the wire as go-micro has it
├── BadRequest             400  INVALID_ARGUMENT      the caller's fault
├── Unauthorized           401  UNAUTHENTICATED
├── Forbidden              403  PERMISSION_DENIED
├── NotFound               404  NOT_FOUND             no such service
│   └── Unimplemented      404  UNIMPLEMENTED         the service has no such endpoint
├── Timeout                408  DEADLINE_EXCEEDED
├── Conflict               409  ALREADY_EXISTS
├── TooManyRequests        429  RESOURCE_EXHAUSTED
├── Cancelled              499  CANCELLED             the caller went away
├── InternalServerError    500  INTERNAL              the handler raised
├── Unavailable            503  UNAVAILABLE           routes, but none answered; says whether the call may have run
└── ProtocolError
    ├── LocalProtocolError                            we broke it
    └── RemoteProtocolError                           they did
"""

import enum
import json
from typing import Any


class Status(enum.IntEnum):
    """gRPC status numbers (grpc.io, statuscodes): they travel through every port and hop unchanged."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class MicroError(Exception):
    """An error of a call. `str()` is the sentence for a person; `to_json()` is the form on the wire."""

    code: int = 500
    """The HTTP status. What a peer says is kept where no class stands for it, here and in the next two."""
    grpc: Status = Status.UNKNOWN
    """The gRPC status."""
    phrase: str = "Internal Server Error"
    """The HTTP reason phrase, which go-micro calls `status`."""

    def __init__(self, detail: object, *, id: str = "") -> None:
        """`detail` is a sentence, or the exception that says it: `raise BadRequest(error) from error`."""
        self.detail = str(detail)
        """What happened, where, and what to try."""
        super().__init__(self.detail)
        self.id = id
        """Who says so: the name of a service or node."""

    def to_json(self) -> str:
        """The error as go-micro writes it: one JSON object with id, code, detail and status."""
        return json.dumps({"id": self.id, "code": self.code, "detail": self.detail, "status": self.phrase})


class BadRequest(MicroError):
    """The caller's fault: what it sent cannot be understood."""

    code, grpc, phrase = 400, Status.INVALID_ARGUMENT, "Bad Request"


class Unauthorized(MicroError):
    """The caller did not say who it is."""

    code, grpc, phrase = 401, Status.UNAUTHENTICATED, "Unauthorized"


class Forbidden(MicroError):
    """The caller may not do this."""

    code, grpc, phrase = 403, Status.PERMISSION_DENIED, "Forbidden"


class NotFound(MicroError):
    """No such service."""

    code, grpc, phrase = 404, Status.NOT_FOUND, "Not Found"


class Unimplemented(NotFound):
    """The service has no such endpoint."""

    code, grpc, phrase = 404, Status.UNIMPLEMENTED, "Not Found"


class Timeout(MicroError):
    """The deadline passed before the answer came."""

    code, grpc, phrase = 408, Status.DEADLINE_EXCEEDED, "Request Timeout"


class Conflict(MicroError):
    """What was to be made exists already."""

    code, grpc, phrase = 409, Status.ALREADY_EXISTS, "Conflict"


class TooManyRequests(MicroError):
    """A limit is reached; which one is in the detail."""

    code, grpc, phrase = 429, Status.RESOURCE_EXHAUSTED, "Too Many Requests"


class Cancelled(MicroError):
    """The caller went away before the answer came. 499 is nginx's number for it."""

    code, grpc, phrase = 499, Status.CANCELLED, "Client Closed Request"


class InternalServerError(MicroError):
    """The handler raised."""

    code, grpc, phrase = 500, Status.INTERNAL, "Internal Server Error"


class Unavailable(MicroError):
    """There are routes, but none answered."""

    code, grpc, phrase = 503, Status.UNAVAILABLE, "Service Unavailable"

    def __init__(self, detail: object, *, id: str = "", may_have_run: bool = False) -> None:
        super().__init__(detail, id=id)
        self.may_have_run = may_have_run
        """False where provably no handler has seen the call."""


class ProtocolError(MicroError):
    """The rules of the wire were broken."""


class LocalProtocolError(ProtocolError):
    """We broke them: a defect of this program."""


class RemoteProtocolError(ProtocolError):
    """They did: the peer sent something it must not."""

    code, grpc, phrase = 502, Status.INTERNAL, "Bad Gateway"


_BY_STATUS: dict[int, type[MicroError]] = {
    kind.grpc: kind
    for kind in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        Unimplemented,
        Timeout,
        Conflict,
        TooManyRequests,
        Cancelled,
        InternalServerError,
        Unavailable,
    )
}

_BY_CODE: dict[int, type[MicroError]] = {
    **{kind.code: kind for kind in _BY_STATUS.values() if kind is not Unimplemented},
    501: Unimplemented,
    504: Timeout,
}

_CODES = range(400, 600)
"""HTTP statuses that tell of an error."""

_OTHERS: dict[int, tuple[int, str]] = {
    Status.FAILED_PRECONDITION: (412, "Precondition Failed"),
    Status.ABORTED: (409, "Conflict"),
    Status.OUT_OF_RANGE: (400, "Bad Request"),
    Status.DATA_LOSS: (500, "Internal Server Error"),
}
"""HTTP status and phrase of the gRPC statuses without a class: as go-micro pairs them, or gRPC's own HTTP mapping
(google/rpc/code.proto)."""


def error_from_status(status: int, message: str, *, may_have_run: bool = True) -> MicroError:
    """The error that a gRPC status and message stand for.

    A message that is go-micro's JSON gives its own id and detail, and its code where the status says nothing: go-micro
    sends UNKNOWN with codes it knows no status for. Any other text is the detail as it stands. A status without a class
    is a `MicroError` that keeps it.
    """
    record = _record(message)
    code = record.get("code")
    kind = _BY_STATUS.get(status)
    if kind is None and status == Status.UNKNOWN and type(code) is int and code in _CODES and code != MicroError.code:
        return error_from_http(code, message, may_have_run=may_have_run)
    error = _make(kind or MicroError, record, message, may_have_run)
    if status in _OTHERS:
        error.grpc = Status(status)
        error.code, error.phrase = _OTHERS[status]
    return error


def error_from_http(code: int, body: str, *, may_have_run: bool = True) -> MicroError:
    """The error that an HTTP status, 400 to 599, and the body of the answer stand for; the body is read as the message
    is in `error_from_status`. A code without a class is a `MicroError` that keeps it."""
    record = _record(body)
    kind = _BY_CODE.get(code)
    error = _make(kind or MicroError, record, body, may_have_run)
    if kind is None:
        error.code = code
        phrase = record.get("status")
        error.phrase = phrase if isinstance(phrase, str) else ""
    return error


def _make(kind: type[MicroError], record: dict[str, Any], text: str, may_have_run: bool) -> MicroError:
    detail, id = record.get("detail", text), record.get("id")
    id = id if isinstance(id, str) else ""
    if kind is Unavailable:
        return Unavailable(detail, id=id, may_have_run=may_have_run)
    return kind(detail, id=id)


def _record(message: str) -> dict[str, Any]:
    """What go-micro's JSON says; empty for any other text."""
    if not message.startswith("{"):
        return {}
    try:
        record = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("detail"), str) else {}
