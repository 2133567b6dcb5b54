"""Answers between header lists and heads: what is read is written again, and each kind keeps to its own rules."""

import pytest

from sdk.errors import RemoteProtocolError
from sdk.head import (
    ReplyHead,
    Trailers,
    pack_reply_head,
    pack_trailers,
    parse_reply_head_untrusted,
    parse_trailers_untrusted,
)
from sdk.port.http2.answers import (
    OK,
    pack_ended,
    pack_head,
    read_answer_untrusted,
    read_trailers_untrusted,
    write_answer_untrusted,
    write_interim_untrusted,
    write_trailers_untrusted,
)
from sdk.wire.http2 import StreamFault

GRPC = (":status", "200", "content-type", "application/grpc", "x-a", "1", "x-a", "2")
STATUS = ("grpc-status", "5", "grpc-message", "50%25", "x-b", "3")


def test_a_grpc_answer_is_read_and_written_again() -> None:
    packed = pack_head(read_answer_untrusted(GRPC, grpc=True).packed, read_trailers_untrusted(STATUS, grpc=True))
    head = ReplyHead("application/grpc", ("x-a", "1", "x-a", "2"), 5, "50%", ("x-b", "3"))
    assert parse_reply_head_untrusted(packed) == head
    assert packed == pack_reply_head(head)
    assert write_answer_untrusted(packed, grpc=True, whole=True, empty=False) == (GRPC, STATUS)
    assert write_answer_untrusted(packed, grpc=True, whole=False, empty=False) == (GRPC, ())


def test_what_comes_before_an_answer_is_read_and_written_again() -> None:
    begun = read_answer_untrusted((":status", "103", "link", "a", "content-length", "5"), grpc=False)
    assert write_interim_untrusted(pack_head(begun.packed)) == (":status", "103", "link", "a", "via", "2 micro")


@pytest.mark.parametrize("status", ["", "99", "100", "101", "200", "1032", "abc"])
def test_what_comes_before_an_answer_has_a_status_of_that_kind(status: str) -> None:
    with pytest.raises(RemoteProtocolError, match="interim"):
        write_interim_untrusted(pack_reply_head(ReplyHead("", (":status", status))))


def test_trailers_are_read_and_written_again() -> None:
    packed = pack_ended(read_trailers_untrusted(STATUS, grpc=True))
    assert parse_trailers_untrusted(packed) == Trailers(5, "50%", ("x-b", "3"))
    assert write_trailers_untrusted(packed, grpc=True) == STATUS


def test_an_http_answer_is_read_and_written_again_and_says_which_way_it_came() -> None:
    headers = (":status", "404", "content-type", "text/plain", "set-cookie", "a", "set-cookie", "b")
    begun = read_answer_untrusted(headers, grpc=False)
    answer = write_answer_untrusted(pack_head(begun.packed), grpc=False, whole=True, empty=False)
    assert answer == ((*headers, "via", "2 micro"), ())


def test_http_trailers_leave_out_what_may_not_be_there() -> None:
    trailers = ("x-sum", "1", "content-length", "3", "te", "trailers")
    packed = pack_ended(read_trailers_untrusted(trailers, grpc=False))
    assert parse_trailers_untrusted(packed) == Trailers(0, "", ("x-sum", "1"))
    assert write_trailers_untrusted(pack_trailers(Trailers(0, "", trailers)), grpc=False) == ("x-sum", "1")


@pytest.mark.parametrize(
    ("packed", "empty", "only"),
    [
        (ReplyHead("", (), 5), True, True),
        (ReplyHead("", (), 5), False, False),
        (ReplyHead("", ("x-a", "1"), 5), True, False),
    ],
    ids=["nothing but a status", "a body", "metadata at the beginning"],
)
def test_trailers_only_is_for_answers_that_are_nothing_else(packed: ReplyHead, empty: bool, only: bool) -> None:
    answer = write_answer_untrusted(pack_reply_head(packed), grpc=True, whole=True, empty=empty)
    assert ("grpc-status" in answer.headers) is only
    assert bool(answer.trailers) is not only


@pytest.mark.parametrize("status", ["", "20", "abc", "101", "099", "2000", "\u0662\u0660\u0660"])
def test_an_answer_has_a_status_rfc9113_8_3_2(status: str) -> None:
    with pytest.raises(StreamFault):
        read_answer_untrusted((":status", status), grpc=False)


@pytest.mark.parametrize("status", ["", "abc", "-1", "999999999999"])
def test_a_grpc_status_that_is_none_is_unknown(status: str) -> None:
    packed = pack_ended(read_trailers_untrusted(("grpc-status", status), grpc=True))
    assert parse_trailers_untrusted(packed).status == 2


def test_no_instance_says_what_became_of_the_call_that_it_answers() -> None:
    fate = ("micro-fate", "not-reached")
    begun = read_answer_untrusted((*GRPC, *fate), grpc=True).packed
    packed = pack_head(begun, read_trailers_untrusted((*STATUS, *fate), grpc=True))
    assert "micro-fate" not in str(parse_reply_head_untrusted(packed))
    packed = pack_reply_head(ReplyHead("application/grpc", fate, 14, "", fate))  # of a handler in frames
    assert "micro-fate" not in str(write_answer_untrusted(packed, grpc=True, whole=True, empty=False))


def test_a_status_that_nobody_has_defined_is_passed_on() -> None:
    packed = pack_reply_head(ReplyHead("", (":status", "999")))
    assert write_answer_untrusted(packed, grpc=False, whole=True, empty=True).headers == (":status", "999")


@pytest.mark.parametrize("status", ["100", "101", "1000", "0200", "x"])
def test_a_status_from_afar_that_http_cannot_say_is_refused(status: str) -> None:
    with pytest.raises(RemoteProtocolError):
        write_answer_untrusted(pack_reply_head(ReplyHead("", (":status", status))), grpc=False, whole=True, empty=True)


def test_an_answer_that_no_frame_can_hold_is_refused() -> None:
    huge = ("x-a", "\xe9" * 33000)
    with pytest.raises(StreamFault, match="do not fit"):
        read_answer_untrusted((":status", "200", *huge), grpc=False)
    with pytest.raises(StreamFault, match="do not fit"):
        read_trailers_untrusted(huge, grpc=True)


def test_what_ends_well_is_always_the_same() -> None:
    assert parse_trailers_untrusted(pack_ended(OK)) == Trailers()
