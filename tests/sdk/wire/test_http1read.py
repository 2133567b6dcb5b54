"""HTTP/1.1 heads as the heads of calls."""

import pytest

from sdk.errors import RemoteProtocolError
from sdk.head import IDEMPOTENT, CallHead, ReplyHead, parse_call_head_untrusted, parse_reply_head_untrusted
from sdk.wire.frame import NO_DEADLINE
from sdk.wire.http1head import CHUNKED, UNTIL_CLOSE, Malformed
from sdk.wire.http1read import Answered, Asked, read_answer_untrusted, read_request_untrusted

FORWARDED = b"for=10.0.0.1;proto=http"
ADDED = ("forwarded", "for=10.0.0.1;proto=http", "via", "1.1 micro")


def asked(*lines: str) -> Asked:
    return read_request_untrusted("\r\n".join((*lines, "", "")).encode("latin-1"), FORWARDED)


def call(*lines: str) -> CallHead:
    return parse_call_head_untrusted(asked(*lines).packed + b"i" * 16)


def answered(*lines: str, method: str = "GET") -> Answered:
    return read_answer_untrusted("\r\n".join((*lines, "", "")).encode("latin-1"), method)


def reply(*lines: str) -> ReplyHead:
    return parse_reply_head_untrusted(answered(*lines).packed)


def test_a_request_becomes_a_call() -> None:
    head = call("POST /hello?a=b HTTP/1.1", "Host: greeter:80", "Content-Type: text/plain", "X-A: 1", "x-a: 2")
    assert head == CallHead(
        service="greeter",
        endpoint="/hello?a=b",
        protocol="http",
        content_type="text/plain",
        metadata=(
            ":method", "POST", ":scheme", "http", ":authority", "greeter:80", "x-a", "1", "x-a", "2", *ADDED,
        ),
        call_id=b"i" * 16,
    )  # fmt: skip


def test_an_absolute_target_says_the_host_whatever_host_does() -> None:  # RFC 9112, 3.2.2
    head = call("GET http://greeter:8080/a/b?c HTTP/1.1", "Host: other")
    assert (head.service, head.endpoint) == ("greeter", "/a/b?c")
    assert head.metadata[:6] == (":method", "GET", ":scheme", "http", ":authority", "greeter:8080")


@pytest.mark.parametrize(
    ("target", "endpoint"),
    [
        ("HTTP://a", "/"),
        ("http://a?b", "/?b"),
        ("http://a/", "/"),
        ("/a//b/../c", "/a//b/../c"),
        ("/%2e%2F", "/%2e%2F"),
    ],
)
def test_a_path_is_passed_on_as_it_was_written(target: str, endpoint: str) -> None:
    assert call(f"GET {target} HTTP/1.1", "Host: a").endpoint == endpoint


def test_options_may_ask_for_the_whole_server() -> None:
    assert call("OPTIONS * HTTP/1.1", "Host: a").endpoint == "*"
    assert call("OPTIONS http://a HTTP/1.1", "Host: a").endpoint == "*"  # RFC 9112, 3.2.4


@pytest.mark.parametrize(
    "target", ["*", "a", "greeter:80", "https://a/", "ftp://a/", "http:///a", "http://a b/", "http://u@a/", "/a#b",
               "http://a\\b/"],
)  # fmt: skip
def test_a_target_that_leads_nowhere_is_refused(target: str) -> None:
    with pytest.raises(Malformed):
        call(f"GET {target} HTTP/1.1", "Host: a")


def test_micro_service_names_the_service_before_the_host_does() -> None:
    head = call("GET / HTTP/1.1", "Host: localhost:8081", "Micro-Service: greeter", "Micro-Router: far")
    assert head.service == "greeter"
    assert head.metadata[6:10] == ("micro-service", "greeter", "micro-router", "far")


@pytest.mark.parametrize("host", ["localhost:8081", "127.0.0.1", "[::1]:80", ""])
def test_a_request_that_names_no_service_is_told_how_to(host: str) -> None:
    with pytest.raises(Malformed, match="Micro-Service header") as caught:
        call("GET / HTTP/1.1", f"Host: {host}")
    assert caught.value.status == 404


def test_where_no_host_was_said_the_service_is_one() -> None:
    head = call("GET / HTTP/1.0", "Micro-Service: greeter")
    assert head.metadata[4:6] == (":authority", "greeter")


def test_two_services_are_one_too_many() -> None:
    with pytest.raises(Malformed):
        call("GET / HTTP/1.1", "Host: a", "Micro-Service: b", "Micro-Service: c")


def test_what_belongs_to_the_connection_stays_behind() -> None:  # RFC 9110, 7.6.1
    head = call(
        "GET / HTTP/1.1", "Host: a", "Connection: X-Secret, keep-alive", "X-Secret: 1", "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive", "TE: gzip", "Proxy-Authorization: Basic eDp5", "Upgrade: foo",
        "HTTP2-Settings: AAA", "X-Kept: 2",
    )  # fmt: skip
    assert head.metadata[6:] == ("x-kept", "2", *ADDED)


@pytest.mark.parametrize(
    ("te", "takes"), [("trailers", True), ("gzip;q=0.5, Trailers", True), ("trailers;q=0", False), ("deflate", False)]
)
def test_whether_a_program_takes_trailers_goes_on_rfc9110_10_1_4(te: str, takes: bool) -> None:
    head = call("GET / HTTP/1.1", "Host: a", "Connection: TE", f"TE: {te}")
    assert head.metadata[6:] == ((":te", "trailers") if takes else ()) + ADDED


def test_what_others_said_of_the_way_here_is_kept() -> None:
    head = call("GET / HTTP/1.1", "Host: a", "Forwarded: for=1.2.3.4", "Via: 1.1 other")
    assert head.metadata[6:] == ("forwarded", "for=1.2.3.4", "via", "1.1 other", *ADDED)


def test_the_token_that_was_shown_is_told_and_not_passed_on() -> None:
    request = asked("GET / HTTP/1.1", "Host: a", "Proxy-Authorization: Bearer secret")
    assert request.token == b"Bearer secret"
    assert b"secret" not in request.packed


@pytest.mark.parametrize(
    ("start", "lines", "keep"),
    [
        ("GET / HTTP/1.1", (), True),
        ("GET / HTTP/1.1", ("Connection: close",), False),
        ("GET / HTTP/1.1", ("Connection: a, Close",), False),
        ("GET / HTTP/1.0", (), False),
        ("GET / HTTP/1.0", ("Connection: keep-alive",), True),
        ("GET / HTTP/1.0", ("Connection: keep-alive, close",), False),
    ],
)
def test_a_connection_is_kept_as_rfc_9112_9_3_has_it(start: str, lines: tuple[str, ...], keep: bool) -> None:
    assert asked(start, "Host: a", *lines).keep is keep
    answer = start.partition(" / ")[2] + " 200 OK"
    assert answered(answer, "Content-Length: 0", *lines).keep is keep


def test_what_may_run_twice_is_marked() -> None:
    marked = {method for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH", "get")
              if call(f"{method} / HTTP/1.1", "Host: a").flags & IDEMPOTENT}  # fmt: skip
    assert marked == {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}


@pytest.mark.parametrize("start", [("GET /chat HTTP/1.1",), ("POST /attach HTTP/1.1", "Content-Length: 0")])
def test_an_upgrade_is_asked_for_and_is_not_idempotent(start: tuple[str, ...]) -> None:  # POST: docker, kubectl
    lines = (*start, "Host: a", "Connection: keep-alive, Upgrade", "Upgrade: websocket")
    assert asked(*lines).upgrade
    head = call(*lines)
    assert head.metadata[6:8] == (":upgrade", "websocket")
    assert not head.flags & IDEMPOTENT


@pytest.mark.parametrize(
    "lines",
    [
        ("GET / HTTP/1.1", "Upgrade: websocket"),  # RFC 9110, 7.8: without the option it was not meant for us
        ("GET / HTTP/1.0", "Connection: upgrade", "Upgrade: websocket"),
        ("POST / HTTP/1.1", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 5"),
        ("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: h2c", "HTTP2-Settings: AAA"),  # h2c smuggling, 2020
        ("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: TLS/1.2"),  # Apache's HttpClient 5.4, of its own accord
        ("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: websocket", "Upgrade: h2c"),
        ("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: h2c, websocket"),
    ],
)
def test_an_upgrade_that_cannot_be_is_not_passed_on(lines: tuple[str, ...]) -> None:
    request = asked(*lines, "Host: a")
    assert not request.upgrade
    head = parse_call_head_untrusted(request.packed + bytes(16))
    assert not {"upgrade", ":upgrade"} & set(head.metadata)
    assert bool(head.flags & IDEMPOTENT) == lines[0].startswith("GET")


def test_who_waits_for_100_is_known_and_nobody_else_is_waited_for() -> None:
    assert asked("POST / HTTP/1.1", "Host: a", "Expect: 100-Continue", "Content-Length: 5").expects
    assert not asked("POST / HTTP/1.0", "Host: a", "Expect: 100-continue", "Content-Length: 5").expects
    assert "expect" not in call("POST / HTTP/1.1", "Host: a", "Expect: 100-continue").metadata
    with pytest.raises(Malformed) as caught:
        asked("POST / HTTP/1.1", "Host: a", "Expect: more")
    assert caught.value.status == 417


def test_the_same_head_of_another_program_is_another_call() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    first, second = (read_request_untrusted(data, b"for=%b;proto=http" % host) for host in (b"1.1.1.1", b"2.2.2.2"))
    assert first.packed != second.packed
    assert read_request_untrusted(data, b"for=1.1.1.1;proto=http") is first


def test_no_head_is_taken_for_another_whatever_it_begins_with() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert read_request_untrusted(data, b"for=1.1.1.1;proto=https").method == "GET"
    assert read_request_untrusted(b"s" + data, b"for=1.1.1.1;proto=http").method == "sGET"
    read_request_untrusted(data, FORWARDED, b"web")
    with pytest.raises(Malformed):
        read_request_untrusted(b"web\n" + data, FORWARDED)


def test_an_answer_becomes_a_reply() -> None:
    head = reply("HTTP/1.1 201 Created", "Content-Type: a/b", "Set-Cookie: 1", "Set-Cookie: 2", "Content-Length: 3",
                 "Connection: x", "X: y", "Keep-Alive: 5")  # fmt: skip
    assert head.content_type == "a/b"
    assert head.metadata == (
        ":status", "201", "set-cookie", "1", "set-cookie", "2", "content-length", "3", "via", "1.1 micro",
    )  # fmt: skip


def test_how_an_answer_ends_is_known() -> None:
    assert answered("HTTP/1.1 200 OK", "Transfer-Encoding: chunked").framing == CHUNKED
    until_close = answered("HTTP/1.1 200 OK")
    assert (until_close.framing, until_close.keep) == (UNTIL_CLOSE, False)


def test_the_same_answer_to_head_is_another_one() -> None:
    lines = ("HTTP/1.1 200 OK", "Content-Length: 5")
    assert [answered(*lines, method=method).framing for method in ("GET", "HEAD", "GET")] == [5, 0, 5]
    with pytest.raises(Malformed):
        answered("-HTTP/1.1 200 OK", "Content-Length: 5")


def test_no_instance_says_what_became_of_the_call_that_it_answers() -> None:
    head = reply("HTTP/1.1 503 Busy", "Content-Length: 0", "Micro-Fate: not-reached", "Proxy-Status: other")
    assert head.metadata == (":status", "503", "content-length", "0", "proxy-status", "other", "via", "1.1 micro")


def test_an_answer_that_agrees_to_an_upgrade_says_to_what() -> None:
    head = reply("HTTP/1.1 101 Switching", "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Accept: x")
    assert head.metadata[:6] == (":status", "101", ":upgrade", "websocket", "sec-websocket-accept", "x")


def test_a_request_may_mean_the_service_behind_a_port_unless_it_names_another_in_so_many_words() -> None:
    def service_and_hosted(host: bytes, named: bytes = b"") -> tuple[str, bool]:
        head = b"GET / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (host, named)
        asked = read_request_untrusted(head, FORWARDED, b"hello")
        return asked.service, asked.hosted

    assert service_and_hosted(b"LocalHost") == ("hello", False)
    assert service_and_hosted(b"shop:8081") == ("shop", True)
    assert service_and_hosted(b"shop", b"Micro-Service: other\r\n") == ("other", False)
    with pytest.raises(Malformed, match="names no service"):
        read_request_untrusted(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", FORWARDED)


@pytest.mark.parametrize(
    ("fields", "ms"),
    [
        (b"", NO_DEADLINE),
        (b"Grpc-Timeout: 2S\r\n", 2000),
        (b"grpc-timeout: 5m\r\ngrpc-timeout: 6m\r\n", 5),
        (b"grpc-timeout: 2S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", NO_DEADLINE),
    ],
)
def test_a_request_says_how_long_it_may_take_unless_it_is_the_beginning_of_a_conversation(
    fields: bytes, ms: int
) -> None:
    asked = read_request_untrusted(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % fields, FORWARDED)
    assert asked.ms == ms
    metadata = parse_call_head_untrusted(asked.packed + bytes(16)).metadata
    assert ("grpc-timeout" in metadata) is bool(fields), "whoever answers may want to know"


def test_a_time_that_cannot_be_read_is_no_request() -> None:
    with pytest.raises(RemoteProtocolError, match="grpc-timeout"):
        read_request_untrusted(b"GET / HTTP/1.1\r\nHost: a\r\ngrpc-timeout: 2s\r\n\r\n", FORWARDED)


@pytest.mark.parametrize("service", ["", "x", "Shop", "s" * 40, "s" * 300, "ü"])
def test_a_request_goes_to_another_service_as_it_is(service: str) -> None:
    asked = read_request_untrusted(b"GET /a?b HTTP/1.1\r\nHost: shop\r\nX: y\r\n\r\n", FORWARDED)
    call = parse_call_head_untrusted(asked.packed + bytes(16))
    assert parse_call_head_untrusted(asked.to(service) + bytes(16)) == call._replace(service=service)


def test_pins_of_the_connection_stand_behind_those_of_the_request_and_make_it_another_call() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nMicro-Version: 2\r\n\r\n"
    metadata = []
    for pins in ((), ("micro-version", "1"), ("micro-router", "x")):
        packed = read_request_untrusted(head, FORWARDED, b"a", pins).packed
        metadata.append(parse_call_head_untrusted(packed + b"i" * 16).metadata)
    first = (":method", "GET", ":scheme", "http", ":authority", "a", "micro-version", "2")
    assert metadata == [(*first, *ADDED), (*first, "micro-version", "1", *ADDED), (*first, "micro-router", "x", *ADDED)]


def test_a_request_that_may_be_a_web_pages_is_told_from_others() -> None:
    page = ("GET / HTTP/1.1", "Host: evil.example:8081", "Accept-Language: en")
    assert asked(*page, "Micro-Service: billing").site == "evil.example"
    assert asked("GET http://evil.example/ HTTP/1.1", "Host: a", "Origin: b", "Micro-Service: c").site == "evil.example"
    assert asked(*page).site == ""  # whom it names it gets
    head = "\r\n".join((*page, "Micro-Service: billing", "", "")).encode()
    assert read_request_untrusted(head, b"for=10.0.0.1;proto=https").site == ""  # no certificate of ours is for it
