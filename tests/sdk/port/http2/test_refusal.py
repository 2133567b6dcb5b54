"""What an HTTP program is told of a call that leads nowhere."""

import pytest

from sdk.errors import Status
from sdk.port import refusal as http1
from sdk.port.http2.fields import is_field
from sdk.port.http2.refusal import refusal
from sdk.wire.frame import Fate, Reset


@pytest.mark.parametrize(
    ("grpc", "status"), [(5, "404"), (14, "503"), (4, "504"), (8, "503"), (16, "407"), (13, "502"), (1, "502")]
)
def test_each_status_has_its_number_in_http(grpc: int, status: str) -> None:
    headers, text = refusal(Reset(grpc, Fate.NOT_REACHED, "why"))
    fields = dict(zip(headers[::2], headers[1::2], strict=True))
    assert fields[":status"] == status
    assert fields["content-length"] == str(len(text))
    assert ("proxy-authenticate" in fields) is (status == "407")


def test_a_detail_of_any_letters_breaks_no_field() -> None:
    headers, text = refusal(Reset(14, Fate.NOT_REACHED, 'a "b"\\\r\n\0é\ud800'), 431)
    assert text.endswith(b"\n")
    assert all(is_field(name, value) for name, value in zip(headers[2::2], headers[3::2], strict=True))
    assert headers[1] == "431"


@pytest.mark.parametrize(("fate", "said"), [(Fate.NOT_REACHED, "not-reached"), (Fate.MAY_HAVE_RUN, "may-have-run")])
def test_the_program_learns_whether_its_call_may_have_run(fate: Fate, said: str) -> None:
    headers, _ = refusal(Reset(14, fate, "gone"))
    assert dict(zip(headers[::2], headers[1::2], strict=True))["micro-fate"] == said


@pytest.mark.parametrize("status", Status)
def test_a_program_is_told_the_same_over_either_version_of_http(status: Status) -> None:
    reset = Reset(status, Fate.NOT_REACHED, "why")
    headers, text = refusal(reset)
    number, fields, words = http1.refusal(reset)
    assert headers[1] == str(number)
    assert set(zip(headers[2::2], headers[3::2], strict=True)) == set(fields)
    assert text.decode() == words


def test_a_request_that_is_too_long_is_not_taken_for_one_too_many() -> None:
    headers, _ = refusal(Reset(8, Fate.NOT_REACHED, "too long"), 413)
    assert "error=http_request_error" in dict(zip(headers[::2], headers[1::2], strict=True))["proxy-status"]
