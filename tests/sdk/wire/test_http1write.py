"""The heads of calls as HTTP/1.1 heads."""

import pytest

from sdk.errors import RemoteProtocolError
from sdk.head import CallHead, Metadata, ReplyHead, pack_call_head, pack_reply_head
from sdk.wire.http1head import host_untrusted, request_head_untrusted
from sdk.wire.http1read import read_request_untrusted
from sdk.wire.http1write import (
    UNKNOWN,
    Answering,
    Asking,
    write_answer_untrusted,
    write_interim_untrusted,
    write_request_untrusted,
)

PSEUDO = (":method", "GET", ":scheme", "http", ":authority", "greeter:80")


def asking(*more: str, endpoint: str = "/a", content_type: str = "", pseudo: Metadata = PSEUDO) -> Asking:
    head = CallHead("greeter", endpoint, "http", 0, content_type, (*pseudo, *more), b"i" * 16)
    return write_request_untrusted(pack_call_head(head))


def answering(*more: str, status: str = "200", content_type: str = "") -> Answering:
    return write_answer_untrusted(pack_reply_head(ReplyHead(content_type, (":status", status, *more))))


def test_a_call_becomes_a_request() -> None:
    request = asking("x-a", "1", "content-length", "5", "x-a", "2", content_type="a/b")
    assert request.lines == (
        b"GET /a HTTP/1.1\r\nhost: greeter:80\r\ncontent-type: a/b\r\nx-a: 1\r\ncontent-length: 5\r\nx-a: 2\r\n"
    )
    assert request.length == 5
    assert asking().length == UNKNOWN


def test_a_request_comes_out_as_it_went_in() -> None:
    data = b"PUT /a?b HTTP/1.1\r\nhost: c:1\r\ncontent-type: d/e\r\nx-f: \xfc g\r\ncontent-length: 3\r\n"
    read = read_request_untrusted(data + b"\r\n", b"for=1.1.1.1;proto=http")
    written = write_request_untrusted(read.packed + bytes(16))
    assert written.lines == data + b"forwarded: for=1.1.1.1;proto=http\r\nvia: 1.1 micro\r\n"


def test_an_upgrade_is_asked_for() -> None:
    request = asking(pseudo=(*PSEUDO, ":upgrade", "websocket"))
    assert request.upgrade == "websocket"
    assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in request.lines


def test_trailers_are_asked_for() -> None:
    request = asking("x", "y", pseudo=(*PSEUDO, ":te", "trailers"))
    assert request.lines == b"GET /a HTTP/1.1\r\nhost: greeter:80\r\nconnection: te\r\nte: trailers\r\nx: y\r\n"


def test_what_belongs_to_another_connection_is_left_out() -> None:
    request = asking("connection", "close", "transfer-encoding", "chunked", "host", "other", "keep-alive", "5")
    assert request.lines == b"GET /a HTTP/1.1\r\nhost: greeter:80\r\n"


INJECTED = "b\r\nTransfer-Encoding: chunked"


@pytest.mark.parametrize(
    "head",
    [
        CallHead("a", "/", "http", 0, "", ()),
        CallHead("a", "/", "grpc", 0, "", PSEUDO),
        CallHead("a", "Greeter.Hello", "http", 0, "", PSEUDO),
        CallHead("a", "/ HTTP/1.1\r\nA: b", "http", 0, "", PSEUDO),
        CallHead("a", "/a b", "http", 0, "", PSEUDO),
        CallHead("a", "/a\tb", "http", 0, "", PSEUDO),
        CallHead("a", "/\u0100", "http", 0, "", PSEUDO),
        CallHead("a", "/", "http", 0, INJECTED, PSEUDO),
        CallHead("a", "/", "http", 0, "", (*PSEUDO, "a", INJECTED)),
        CallHead("a", "/", "http", 0, "", (*PSEUDO, f"a: {INJECTED}", "c")),
        CallHead("a", "/", "http", 0, "", (*PSEUDO, "content-length", "5", "content-length", "5")),
        CallHead("a", "/", "http", 0, "", (*PSEUDO, "content-length", "5, 5")),
        CallHead("a", "/", "http", 0, "", (*PSEUDO, "Content-Length", "5", "content-length", "6")),
        CallHead("a", "/", "http", 0, "", (*PSEUDO, "a", "b", ":late", "c")),
        CallHead("a", "/", "http", 0, "", (*PSEUDO, ":authority", INJECTED)),
        CallHead("a", "/", "http", 0, "", (*PSEUDO, ":method", "GET / HTTP/1.1\r\nA: b\r\n\r\nGET")),
        CallHead("a", "/", "http", 0, "", (*PSEUDO, ":method", "CONNECT")),
        CallHead("a", "/", "http", 0, "", (*PSEUDO, ":upgrade", INJECTED)),
    ],
)
def test_a_call_of_another_node_that_would_become_something_else_is_refused(head: CallHead) -> None:
    for call_id in (b"", b"i" * 16):
        with pytest.raises(RemoteProtocolError):
            write_request_untrusted(pack_call_head(head._replace(call_id=call_id)))


def test_two_calls_are_never_taken_for_one_because_their_ids_have_an_odd_length() -> None:
    heads = [pack_call_head(CallHead("a", f"/{end}", "http", 0, "", PSEUDO)) for end in ("x" * 40, "x" * 39 + "y")]
    moved = [CallHead("a", "/", "http", 0, "", (*PSEUDO, "k", f"{end:>20}")) for end in ("x", "y")]
    lines = {write_request_untrusted(packed).lines for packed in (*heads, *map(pack_call_head, moved))}
    assert len(lines) == 4


def test_a_reply_becomes_an_answer() -> None:
    answer = answering("set-cookie", "1", "content-length", "3", content_type="a/b", status="404")
    assert answer.lines == (b"HTTP/1.1 404 Not Found\r\ncontent-type: a/b\r\nset-cookie: 1\r\ncontent-length: 3\r\n")
    assert (answer.length, answer.status) == (3, 404)
    assert answering(status="299").lines == b"HTTP/1.1 299 \r\n"


def test_an_answer_without_a_body_does_not_say_how_long_it_is() -> None:  # RFC 9110, 8.6
    assert b"content-length" not in answering("content-length", "3", status="204").lines
    upgraded = answering(":upgrade", "websocket", "content-length", "3", status="101")
    assert upgraded.lines == b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    assert b"content-length: 3" in answering("content-length", "3", status="304").lines


@pytest.mark.parametrize(
    ("status", "more"),
    [("", ()), ("100", ()), ("20", ()), ("2000", ()), ("2\xb20", ()), ("200 OK\r\nA: b", ()), ("101", ()),
     ("101", (":upgrade", INJECTED)), ("200", ("a", INJECTED)), ("200", ("content-length", "x"))],
)  # fmt: skip
def test_an_answer_of_another_node_that_would_become_something_else_is_refused(
    status: str, more: tuple[str, ...]
) -> None:
    with pytest.raises(RemoteProtocolError):
        answering(*more, status=status)


def test_what_comes_before_an_answer_is_written_whole() -> None:
    head = ReplyHead("", (":status", "103", "link", "a", "link", "b", "content-length", "7", "connection", "close"))
    assert write_interim_untrusted(pack_reply_head(head)) == b"HTTP/1.1 103 Early Hints\r\nlink: a\r\nlink: b\r\n\r\n"
    head = ReplyHead("", (":status", "199"))
    assert write_interim_untrusted(pack_reply_head(head)) == b"HTTP/1.1 199 \r\n\r\n"


@pytest.mark.parametrize(
    "metadata", [(), (":status", "100"), (":status", "101"), (":status", "200"), (":status", "103", "a\r\nb", "c")]
)
def test_what_comes_before_an_answer_and_would_become_something_else_is_refused(metadata: Metadata) -> None:
    with pytest.raises(RemoteProtocolError):
        write_interim_untrusted(pack_reply_head(ReplyHead("", metadata)))


def test_what_was_written_once_is_remembered() -> None:
    assert asking("x-known", "1") is asking("x-known", "1")
    assert answering("x-known", "1") is answering("x-known", "1")


def test_a_written_request_is_one_that_is_read() -> None:
    head = request_head_untrusted(asking("x-a", "\xff").lines + b"\r\n")
    assert (head.method, head.target, host_untrusted(head)) == ("GET", "/a", "greeter:80")
