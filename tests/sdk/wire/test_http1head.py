"""Heads of HTTP/1.1: what is read, and everything that requests were ever smuggled with, which is not."""

import h11
import pytest

from sdk.wire.http1head import (
    CHUNKED,
    MAX_FIELDS,
    MAX_HEAD,
    UNTIL_CLOSE,
    Malformed,
    content_length_untrusted,
    fields_untrusted,
    head_size_untrusted,
    host_untrusted,
    is_authority,
    is_protocol,
    request_framing_untrusted,
    request_head_untrusted,
    response_framing_untrusted,
    response_head_untrusted,
)


def framing(*lines: str, start: str = "POST / HTTP/1.1") -> int:
    head = "\r\n".join((start, *lines, "", "")).encode("latin-1")
    if start.startswith("HTTP"):
        return response_framing_untrusted(response_head_untrusted(head), "GET")
    return request_framing_untrusted(request_head_untrusted(head))


def test_a_request_is_read() -> None:
    head = request_head_untrusted(b"GET /a?b=c HTTP/1.1\r\nHost: greeter\r\nX-A:  b c \t\r\nX-A:\r\n\r\n")
    assert head == ("GET", "/a?b=c", 1, [("host", "greeter"), ("x-a", "b c"), ("x-a", "")])
    assert host_untrusted(head) == "greeter"


def test_an_answer_is_read() -> None:
    assert response_head_untrusted(b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n") == (404, "Not Found", 1, [("a", "b")])
    assert response_head_untrusted(b"HTTP/1.0 200\r\n\r\n") == (200, "", 0, [])


def test_bytes_that_are_no_ascii_are_kept_as_they_are() -> None:
    [(_, value)] = fields_untrusted("a: gr\xfc\xdf\xff\r\n")
    assert value.encode("latin-1") == b"gr\xfc\xdf\xff"


def test_the_size_of_a_head_is_known_when_its_empty_line_has_come() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert [head_size_untrusted(head[:size]) for size in range(1, len(head))] == [0] * (len(head) - 1)
    assert head_size_untrusted(head + b"more\r\n\r\n") == len(head)


@pytest.mark.parametrize("behind", [b"", b"\r\n\r\n"])
def test_a_head_may_have_64_kib(behind: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        head_size_untrusted(b"x" * MAX_HEAD + behind)
    assert caught.value.status == 431
    assert head_size_untrusted(b"x" * (MAX_HEAD - 4) + b"\r\n\r\n") == MAX_HEAD


def test_a_head_may_have_a_hundred_fields() -> None:
    assert len(fields_untrusted("a: b\r\n" * MAX_FIELDS)) == MAX_FIELDS
    with pytest.raises(Malformed) as caught:
        fields_untrusted("a: b\r\n" * (MAX_FIELDS + 1))
    assert caught.value.status == 431


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET  / HTTP/1.1", 400),  # RFC 9112, 3: single spaces (apache CVE-2016-8743)
        ("GET / HTTP/1.1 ", 400),
        (" GET / HTTP/1.1", 400),
        ("GET\t/ HTTP/1.1", 400),
        ("GET /\x0b HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET /", 400),  # HTTP/0.9
        ("GE(T / HTTP/1.1", 400),
        ("GET / HTTP/11", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1.1\nHost: b", 400),
        ("GET / HTTP/1.1\rHost: b", 400),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/1.2", 505),
        ("G" * 33 + " / HTTP/1.1", 501),
    ],
)
def test_a_request_line_that_others_might_read_otherwise_is_refused(line: str, status: int) -> None:
    with pytest.raises(Malformed) as caught:
        request_head_untrusted(f"{line}\r\nHost: a\r\n\r\n".encode("latin-1"))
    assert caught.value.status == status


@pytest.mark.parametrize(
    "line", ["HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 020 OK", "HTTP/1.1  200 OK", "HTTP/2 200 OK", "ICY 200 OK",
             "HTTP/1.1 200 O\rK", "HTTP/1.1 200 O\0K", "HTTP/1.1"],
)  # fmt: skip
def test_a_status_line_that_others_might_read_otherwise_is_refused(line: str) -> None:
    with pytest.raises(Malformed):
        response_head_untrusted(f"{line}\r\n\r\n".encode("latin-1"))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("Content-Length : 5", "space before its colon"),  # RFC 9112, 5.1 (CVE-2019-16869, netty)
        ("Transfer-Encoding\t: chunked", "space before its colon"),
        ("A: b\r\n c", "folded"),  # RFC 9112, 5.2: obs-fold
        ("A: b\r\n\tTransfer-Encoding: chunked", "folded"),
        (" A: b", "folded"),
        ("A: b\nB: c", "bare CR or LF"),  # RFC 9112, 2.2 (CVE-2023-30589, node)
        ("A: b\rB: c", "bare CR or LF"),
        ("A: b\r\rB: c", "bare CR or LF"),
        ("A: b\0c", "NUL"),  # RFC 9110, 5.5 (CVE-2019-9900, envoy)
        ("A\0: b", "NUL"),
        ("A: b\x0bc", "a control"),
        ("A: b\x7f", "a control"),
        ("no colon", "no colon"),
        ("", "no colon"),
        (": b", "a name that is none"),  # CVE-2023-25725, haproxy: an empty name hid all fields behind it
        ("A B: c", "a name that is none"),
        ("A\x80: c", "a name that is none"),
        ("Transfer-Encoding\x0b: chunked", "a name that is none"),
        ('"a": c', "a name that is none"),
    ],
)  # fmt: skip
def test_a_field_that_others_might_read_otherwise_is_refused(line: str, complaint: str) -> None:
    with pytest.raises(Malformed, match=complaint):
        fields_untrusted(f"Before: 1\r\n{line}\r\nBehind: 2\r\n")
    with pytest.raises(Malformed):
        fields_untrusted(f"{line}\r\n")


def test_a_field_without_an_end_is_refused() -> None:
    with pytest.raises(Malformed, match="CR LF"):
        fields_untrusted("A: b")


def test_a_head_whose_lines_end_in_bare_lf_is_refused_before_its_time_is_up() -> None:
    # RFC 9112, 2.2 allows to read it; two that do not agree on it see two requests in one (CVE-2020-26129 and others).
    with pytest.raises(Malformed, match="bare LF"):
        head_size_untrusted(b"GET / HTTP/1.1\nHost: a\n\n")


def test_how_long_a_body_is() -> None:
    assert framing("Content-Length: 5") == 5
    assert framing("Content-Length: 0") == 0
    assert framing("Transfer-Encoding: chunked") == CHUNKED
    assert framing("Transfer-Encoding: Chunked") == CHUNKED
    assert framing("Host: a") == 0
    assert framing("Content-Length: 5", start="HTTP/1.1 200 OK") == 5
    assert framing("Transfer-Encoding: chunked", start="HTTP/1.1 200 OK") == CHUNKED
    assert framing(start="HTTP/1.1 200 OK") == UNTIL_CLOSE


@pytest.mark.parametrize("start", ["HTTP/1.1 204 No", "HTTP/1.1 304 Not", "HTTP/1.1 103 Early"])
def test_some_answers_never_have_a_body(start: str) -> None:
    assert framing("Content-Length: 5", start=start) == 0
    assert framing("Transfer-Encoding: chunked", start=start) == 0


def test_an_answer_to_head_has_no_body() -> None:
    head = response_head_untrusted(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert response_framing_untrusted(head, "HEAD") == 0
    assert response_framing_untrusted(head, "GET") == 5


SMUGGLED = [
    ("Content-Length: 5", "Transfer-Encoding: chunked"),  # RFC 9112, 6.1 and 11.2: CL.TE
    ("Transfer-Encoding: chunked", "Content-Length: 5"),  # TE.CL
    ("Content-Length: 5", "Content-Length: 6"),  # RFC 9110, 8.6
    ("Content-Length: 5", "Content-Length: 5"),
    ("Content-Length: 5, 5",),
    ("Content-Length: +5",),  # CVE-2018-7159, node
    ("Content-Length: -5",),
    ("Content-Length: 0x5",),
    ("Content-Length: 5 5",),
    ("Content-Length: 5_0",),  # int() of Python takes it
    ("Content-Length: \xb2",),  # str.isdigit() of Python says it is one
    ("Content-Length:",),
    ("Content-Length: 5;",),
    ("Content-Length: " + "9" * 19,),  # more than 64 bits
    ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),  # CVE-2020-8287, node
    ("Transfer-Encoding: xchunked",),  # PortSwigger's TE.TE
    ("Transfer-Encoding: chunked, identity",),
    ("Transfer-Encoding: gzip, chunked",),
    ("Transfer-Encoding: identity",),  # CVE-2022-32215, node
    ("Transfer-Encoding: chunked;a=b",),
    ('Transfer-Encoding: "chunked"',),
    ("Transfer-Encoding:",),
    ("Transfer-Encoding: \x00chunked",),
]


@pytest.mark.parametrize("start", ["POST / HTTP/1.1", "HTTP/1.1 200 OK"])
@pytest.mark.parametrize("lines", SMUGGLED, ids=" | ".join)
def test_where_the_length_of_a_body_is_in_doubt_the_message_is_refused(lines: tuple[str, ...], start: str) -> None:
    with pytest.raises(Malformed):
        framing(*lines, start=start)


@pytest.mark.parametrize("start", ["POST / HTTP/1.0", "HTTP/1.0 200 OK"])
def test_http_1_0_has_no_transfer_codings(start: str) -> None:
    with pytest.raises(Malformed):  # RFC 9112, 6.1
        framing("Transfer-Encoding: chunked", start=start)


def test_a_coding_that_is_not_spoken_is_refused_as_such() -> None:
    with pytest.raises(Malformed) as caught:  # RFC 9112, 6.1
        framing("Transfer-Encoding: gzip")
    assert caught.value.status == 501


@pytest.mark.parametrize(
    "lines", [(), ("Host: a", "Host: a"), ("Host: a", "Host: b"), ("Host: a b",), ("Host: a/b",), ("Host: a@b",),
              ("Host: a, b",), ("Host: a:80:80",), ("Host: [::1",)],
)  # fmt: skip
def test_a_request_has_one_host(lines: tuple[str, ...]) -> None:
    head = request_head_untrusted("\r\n".join(("GET / HTTP/1.1", *lines, "", "")).encode())
    with pytest.raises(Malformed):  # RFC 9112, 3.2
        host_untrusted(head)


def test_http_1_0_may_have_no_host() -> None:
    assert host_untrusted(request_head_untrusted(b"GET / HTTP/1.0\r\n\r\n")) == ""


def test_a_length_is_read_as_digits_and_nothing_else() -> None:
    assert content_length_untrusted("0123") == 123


@pytest.mark.parametrize(
    "request_",
    [
        h11.Request(method="GET", target="/a%20b?c=d", headers=[("Host", "a:80"), ("X-Empty", ""), ("X", "y z")]),
        h11.Request(method="M-SEARCH", target="*", headers=[("Host", "[::1]:80")]),
    ],
)
def test_what_another_implementation_writes_is_read(request_: h11.Request) -> None:
    data = h11.Connection(h11.CLIENT).send(request_)
    assert data is not None
    assert head_size_untrusted(data) == len(data)
    head = request_head_untrusted(data)
    assert (head.method.encode(), head.target.encode()) == (request_.method, request_.target)
    assert [(name.encode(), value.encode()) for name, value in head.fields] == list(request_.headers)
    assert is_authority(host_untrusted(head))


@pytest.mark.parametrize("text", ["websocket", "h2c", "HTTP/2.0", "TLS/1.3"])
def test_names_of_protocols_are_known(text: str) -> None:
    assert is_protocol(text)


@pytest.mark.parametrize("text", ["", "/", "a/", "/1", "a/b/c", "a, b", "a b", "a\r\nb: c"])
def test_what_is_no_name_of_a_protocol_is_known(text: str) -> None:
    assert not is_protocol(text)
