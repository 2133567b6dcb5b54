"""What is told of a call when it is over."""

import pytest

from proxy.calls import status_of
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
