"""What is told of a call when it is over."""

import pytest

from proxy.calls import http_status_of, status_of
from sdk.errors import Status
from sdk.head import ReplyHead, Trailers, pack_reply_head, pack_trailers
from sdk.wire.frame import DATA, END, HEAD, TRAILERS, pack_headed


@pytest.mark.parametrize("status", [Status.OK, Status.NOT_FOUND, Status.INTERNAL])
def test_the_status_stands_in_the_last_frame(status: Status) -> None:
    for _ in range(2):  # the second time it is known
        head = pack_headed(pack_reply_head(ReplyHead("text", (), status, "a message")), b"body")
        assert status_of(HEAD, END, head) == status
        trailers = pack_headed(pack_trailers(Trailers(status, "a message")), b"")
        assert status_of(DATA, END | TRAILERS, trailers) == status


def test_bytes_that_just_end_went_well() -> None:
    assert status_of(DATA, END, b"raw") == Status.OK


def test_a_head_that_cannot_be_read_is_unknown() -> None:
    assert status_of(HEAD, END, pack_headed(b"\xc1", b"")) == Status.UNKNOWN


def test_bytes_that_are_no_head_may_be_good_trailers() -> None:
    trailers = pack_headed(pack_trailers(Trailers(Status.OK, "bytes of this test")), b"")
    assert status_of(HEAD, END, trailers) == Status.UNKNOWN
    assert status_of(DATA, END | TRAILERS, trailers) == Status.OK


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ((":status", "200"), Status.OK),
        ((":status", "304"), Status.OK),
        ((":status", "404"), 404),
        ((":status", "599"), 599),
        ((":status", "no"), Status.OK),
        ((":status", "\u0664\u0660\u0664"), Status.OK),
        (("status", "500"), Status.OK),
        ((), Status.OK),
    ],
)
def test_an_answer_over_http_says_in_its_own_status_that_it_is_an_error(metadata: tuple[str, ...], status: int) -> None:
    assert http_status_of(pack_headed(pack_reply_head(ReplyHead("text", metadata)), b"body")) == status


def test_a_head_over_http_that_cannot_be_read_is_unknown() -> None:
    assert http_status_of(pack_headed(b"\xc1", b"")) == Status.UNKNOWN
