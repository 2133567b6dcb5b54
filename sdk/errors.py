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
from typing import ClassVar


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

    code: ClassVar[int] = 500
    """The HTTP status."""
    grpc: ClassVar[Status] = Status.UNKNOWN
    """The gRPC status."""
    phrase: ClassVar[str] = "Internal Server Error"
    """The HTTP reason phrase, which go-micro calls `status`."""

    def __init__(self, detail: str, *, id: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        """What happened, where, and what to try."""
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

    def __init__(self, detail: str, *, id: str = "", may_have_run: bool = False) -> None:
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


def error_from_status(status: int, message: str, *, may_have_run: bool = True) -> MicroError:
    """The error that a gRPC status and message stand for.

    A message that is go-micro's JSON gives its own id and detail; any other text is the detail as it stands.
    """
    id, detail = "", message
    if message.startswith("{"):
        try:
            record = json.loads(message)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and isinstance(record.get("detail"), str):
            detail = record["detail"]
            id = record["id"] if isinstance(record.get("id"), str) else ""
    kind = _BY_STATUS.get(status, MicroError)
    if kind is Unavailable:
        return Unavailable(detail, id=id, may_have_run=may_have_run)
    return kind(detail, id=id)
