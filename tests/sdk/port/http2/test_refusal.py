"""What an HTTP program is told of a call that leads nowhere."""

import pytest

from sdk.port.http2.fields import is_field
from sdk.port.http2.refusal import refusal
from sdk.wire.frame import Fate, Reset


@pytest.mark.parametrize(
    ("grpc", "status"), [(5, "404"), (14, "503"), (4, "504"), (8, "429"), (16, "407"), (13, "502"), (1, "502")]
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
