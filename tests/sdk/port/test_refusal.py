"""What programs that speak HTTP are told when the mesh answers for the service."""

import h11
import pytest

from sdk.errors import Status
from sdk.port.refusal import complaint, refusal, refusal_bytes
from sdk.wire.frame import Fate, Reset


def read(data: bytes, method: str = "GET") -> tuple[h11.Response, str]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    answer = client.next_event()
    assert isinstance(answer, h11.Response)
    event, text = client.next_event(), b""
    while isinstance(event, h11.Data):
        text += event.data
        event = client.next_event()
    assert isinstance(event, h11.EndOfMessage)
    return answer, text.decode()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.NOT_FOUND, 404),
        (Status.UNAVAILABLE, 503),
        (Status.RESOURCE_EXHAUSTED, 503),
        (Status.DEADLINE_EXCEEDED, 504),
        (Status.UNAUTHENTICATED, 407),
        (Status.PERMISSION_DENIED, 403),
        (Status.INVALID_ARGUMENT, 400),
        (Status.INTERNAL, 502),
        (Status.DATA_LOSS, 502),
    ],
)
def test_each_kind_of_failure_has_its_status(status: Status, code: int) -> None:
    answer, text = read(refusal_bytes(refusal(Reset(status, Fate.NOT_REACHED, "no ü\n")), close=False))
    fields = dict(answer.headers)
    assert answer.status_code == code
    assert text == "no ü\n\n"
    assert fields[b"proxy-status"].startswith(b"micro; error=")
    assert fields[b"proxy-status"].endswith(b'details="no ??"')
    assert fields[b"micro-fate"] == b"not-reached"
    assert (b"proxy-authenticate" in fields) is (code == 407)


def test_the_program_learns_that_its_call_may_have_run() -> None:
    answer, _ = read(refusal_bytes(refusal(Reset(Status.UNAVAILABLE, Fate.MAY_HAVE_RUN, "gone")), close=True))
    fields = dict(answer.headers)
    assert fields[b"micro-fate"] == b"may-have-run"
    assert fields[b"connection"] == b"close"


def test_quotes_in_a_reason_stay_inside_of_it() -> None:  # RFC 8941, 3.3.3
    answer, _ = read(refusal_bytes(refusal(Reset(Status.NOT_FOUND, Fate.NOT_REACHED, 'a "b" \\ \r\nc')), close=False))
    assert dict(answer.headers)[b"proxy-status"] == (
        b'micro; error=destination_not_found; details="a \\"b\\" \\\\ ??c"'
    )


def test_an_answer_to_head_has_no_text() -> None:
    refused = complaint(404, "no service", Fate.NOT_REACHED)
    answer, text = read(refusal_bytes(refused, close=False, body=False), "HEAD")
    assert dict(answer.headers)[b"content-length"] == b"11"
    assert text == ""


@pytest.mark.parametrize("status", [400, 404, 407, 408, 417, 431, 501, 505, 599])
def test_a_request_that_cannot_be_read_is_told_why_and_whether_its_call_may_have_run(status: int) -> None:
    for fate, word in ((Fate.NOT_REACHED, b"not-reached"), (Fate.MAY_HAVE_RUN, b"may-have-run")):
        answer, text = read(refusal_bytes(complaint(status, "why", fate), close=True))
        assert (answer.status_code, text) == (status, "why\n")
        assert dict(answer.headers)[b"micro-fate"] == word
