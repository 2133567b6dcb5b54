"""JSON over HTTP: a program's bytes on one side of a switch, a service that takes gRPC messages on the other."""

import json
from typing import Any

import pytest

from proxy.jsonbridge import JsonBridge
from proxy.legs import Failed, Target
from proxy.switch import Switch
from sdk import jsoncalls
from sdk.errors import NotFound, Status, Unavailable
from sdk.head import (
    CallHead,
    Metadata,
    ReplyHead,
    Trailers,
    pack_call_head,
    pack_reply_head,
    pack_trailers,
    parse_call_head_untrusted,
)
from sdk.jsoncalls import MAX_ENTITY
from sdk.port.http1serving import ServingHttp1Port
from sdk.port.inner import inner_pair
from sdk.wire.frame import Fate, Open
from sdk.wire.http1fields import forwarded_by
from sdk.wire.message import encode_message
from sdk.wire.mux import Mux, MuxStream
from tests.sdk.port.test_http1serving import answer_of

from .chain import Clock

JSON = "Content-Type: application/json"


class Node:
    """A node with one service, which speaks no HTTP, and a program that speaks nothing else."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.calls: list[tuple[CallHead, Open, MuxStream]] = []
        self.gone = False
        self.switch = Switch(me=b"n" * 16, name="here")
        self.switch.ingress = self.switch.egress = self  # type: ignore[assignment]
        services = Mux(on_open=self._on_open)
        self._service, inside = inner_pair(self.switch, services, name="greeter", clock=self.clock)
        services.attach(inside)
        self.bridge = JsonBridge(self.switch, me=b"n" * 16, name="here", clock=self.clock)
        self.program = ServingHttp1Port(
            self.switch,
            name="program",
            clock=self.clock,
            forwarded=forwarded_by("10.0.0.1"),
            call_ids=b"c" * 8,
        )

    def choose(self, head: CallHead, now: float, trusted: bool = False) -> Target:
        if head.service != "greeter":
            raise NotFound(f"no service called {head.service!r} is known here")
        if self.gone:
            raise Unavailable("greeter is gone")
        return Target(self.bridge.port if head.protocol == "http" else self._service, b"", None)

    def again(self, head: CallHead, now: float, failed: Failed, trusted: bool = False) -> Target:
        raise Unavailable("there is no other")

    def _on_open(self, stream: MuxStream, opened: Open) -> None:
        self.calls.append((parse_call_head_untrusted(opened.head), opened, stream))

    @property
    def stream(self) -> MuxStream:
        return self.calls[-1][2]

    def says(self, body: bytes, *lines: str, start: str = "POST /Greeter/Hello HTTP/1.1") -> None:
        head = "\r\n".join((start, "Host: greeter", f"Content-Length: {len(body)}", *lines, "", ""))
        data = head.encode() + body
        while data and self.program.may_read:
            size = self.program.may_read
            self.program.receive_data(data[:size])
            data = data[size:]

    def hears(self) -> bytes:
        heard = b""
        while out := self.program.data_to_send():
            heard += b"".join(out)
        return heard

    def answer(self) -> tuple[int, dict[str, str], Any]:
        status, fields, body, complete = answer_of(self.hears())
        assert complete
        return status, fields, json.loads(body)

    def replies(self, *messages: bytes, content_type: str = "application/grpc+json", **more: Any) -> None:
        """The service answers in one frame."""
        body = b"".join(map(encode_message, messages))
        self.stream.send_head(pack_reply_head(ReplyHead(content_type, **more)), body, end=True)

    def check_nothing_is_left(self) -> None:
        assert self.bridge.calls.held == 0
        assert self.switch.statistics()["open"] == 0
        for port in (self.bridge.port, self._service, self.program, self.bridge.calls.callees.port):
            assert not port.streams


def test_json_becomes_a_message_and_the_answers_message_becomes_json() -> None:
    node = Node()
    node.says(b'{"name": "Ada"}', JSON, "X-A: 1", "Traceparent: 00-1")
    [(head, opened, stream)] = node.calls
    assert (head.service, head.endpoint, head.protocol) == ("greeter", "/greeter.Greeter/Hello", "grpc")
    assert head.content_type == "application/grpc+json"
    assert head.metadata == ("x-a", "1", "traceparent", "00-1", "forwarded", "for=10.0.0.1;proto=http")
    assert head.call_id
    assert opened.body == encode_message(b'{"name": "Ada"}')
    assert stream.ended
    node.replies(b'{"greeting": "Hello Ada"}', metadata=("x-b", "2"), trailers=("x-c", "3", "grpc-x", "4"))
    status, fields, body = node.answer()
    assert (status, body) == (200, {"greeting": "Hello Ada"})
    assert fields == {"content-type": "application/json", "content-length": "25", "x-b": "2", "x-c": "3"}
    node.check_nothing_is_left()


@pytest.mark.parametrize(
    ("target", "endpoint"),
    [
        ("/Greeter/Hello", "/greeter.Greeter/Hello"),
        ("/helloworld.Greeter/SayHello?a=b", "/helloworld.Greeter/SayHello"),
    ],
)
def test_a_path_is_a_method_of_the_service_or_of_the_package_it_names(target: str, endpoint: str) -> None:
    node = Node()
    node.says(b"{}", JSON + "; charset=utf-8", start=f"POST {target} HTTP/1.1")
    assert node.calls[0][0].endpoint == endpoint


def test_no_body_is_an_empty_object() -> None:
    node = Node()
    node.says(b"", JSON)
    assert node.calls[0][1].body == encode_message(b"{}")


@pytest.mark.parametrize(
    ("start", "lines", "status"),
    [
        ("GET /Greeter/Hello HTTP/1.1", (JSON,), 405),
        ("POST /Greeter/Hello HTTP/1.1", (), 415),
        ("POST /Greeter/Hello HTTP/1.1", ("Content-Type: text/html",), 415),
        ("POST /Greeter/Hello HTTP/1.1", (JSON, "Content-Encoding: gzip"), 415),
        ("POST / HTTP/1.1", (JSON,), 404),
        ("POST /Greeter HTTP/1.1", (JSON,), 404),
        ("POST /Greeter/ HTTP/1.1", (JSON,), 404),
        ("POST /a/b/c HTTP/1.1", (JSON,), 404),
    ],
)
def test_what_is_no_call_of_a_method_is_told_so_in_json(start: str, lines: tuple[str, ...], status: int) -> None:
    node = Node()
    node.says(b"{}", *lines, start=start)
    code, fields, body = node.answer()
    assert (code, body["code"]) == (status, status)
    assert "greeter" in body["detail"]
    assert fields["content-type"] == "application/json"
    assert not node.calls
    node.check_nothing_is_left()


@pytest.mark.parametrize("whole", [True, False])
def test_an_error_of_the_service_is_told_in_json_with_its_status(whole: bool) -> None:
    node = Node()
    node.says(b"{}", JSON)
    if whole:
        node.replies(status=int(Status.PERMISSION_DENIED), message="not you")
    else:
        node.stream.send_head(pack_reply_head(ReplyHead("application/grpc+json")))
        node.stream.end(pack_trailers(Trailers(int(Status.PERMISSION_DENIED), "not you")))
    code, _, body = node.answer()
    assert code == 403
    assert body == {"id": "", "code": 403, "detail": "not you", "status": "Forbidden"}
    node.check_nothing_is_left()


@pytest.mark.parametrize(
    ("messages", "more"),
    [
        ((), {}),
        ((b"1", b"2"), {}),
        ((b"\x08\x01",), {"content_type": "application/grpc+proto"}),
        ((b"1",), {"content_type": ""}),
    ],
)
def test_an_answer_that_is_not_one_message_of_json_is_502(messages: tuple[bytes, ...], more: dict[str, str]) -> None:
    node = Node()
    node.says(b"{}", JSON)
    node.replies(*messages, **more)
    assert node.answer()[0] == 502
    node.check_nothing_is_left()


@pytest.mark.parametrize("body", [b"\1\0\0\0\1x", b"\0\xff\xff\xff\xffx", b"\0\0\0\0\5x"])
def test_an_answer_that_cannot_be_read_is_502(body: bytes) -> None:
    node = Node()
    node.says(b"{}", JSON)
    node.stream.send_head(pack_reply_head(ReplyHead("application/grpc+json")), body, end=True)
    assert node.answer()[0] == 502
    node.check_nothing_is_left()


@pytest.mark.parametrize("rubbish", ["head", "trailers"])
def test_an_answer_whose_ends_cannot_be_read_is_502(rubbish: str) -> None:
    node = Node()
    node.says(b"{}", JSON)
    if rubbish == "head":
        node.stream.send_head(b"rubbish", end=True)
    else:
        node.stream.send_head(pack_reply_head(ReplyHead("application/grpc+json")), encode_message(b"1"))
        node.stream.end(b"rubbish")
    assert node.answer()[0] == 502
    node.check_nothing_is_left()


def test_megabytes_pass_both_ways() -> None:
    node = Node()
    text = "x" * 3_000_000
    body = json.dumps(text).encode()
    node.says(body, JSON)
    [(_, _, stream)] = node.calls
    got = b""
    while not stream.ended or stream.received:
        got += stream.take()
    assert got == encode_message(body)
    stream.send_head(pack_reply_head(ReplyHead("application/grpc")))
    data = memoryview(encode_message(body))
    while data:
        data = data[stream.write(data) :]
    stream.end(pack_trailers(Trailers()))
    assert node.answer()[2] == text
    node.check_nothing_is_left()


def test_a_body_that_is_too_long_is_refused_before_it_is_all_there() -> None:
    node = Node()
    node.says(bytes(MAX_ENTITY + 1_000_000), JSON)
    code, fields, body = node.answer()
    assert (code, body["detail"]) == (413, "the body has more than 4 MiB")
    assert fields["connection"] == "close"
    assert not node.calls
    node.check_nothing_is_left()


def test_an_answer_that_is_too_long_is_given_up() -> None:
    node = Node()
    node.says(b"{}", JSON)
    stream = node.stream
    stream.send_head(pack_reply_head(ReplyHead("application/grpc+json")))
    while stream.reset_by_peer is None:
        stream.write(bytes(60_000))
    assert node.answer()[0] == 502
    node.check_nothing_is_left()


def test_all_bodies_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsoncalls, "MAX_HELD", 100_000)
    node = Node()
    node.says(bytes(200_000), JSON)
    assert node.answer()[0] == 503
    node.check_nothing_is_left()


@pytest.mark.parametrize("fate", [Fate.NOT_REACHED, Fate.MAY_HAVE_RUN])
def test_the_fate_of_a_call_that_fails_is_told_as_ever(fate: Fate) -> None:
    node = Node()
    node.says(b"{}", JSON)
    node.stream.reset(Status.UNAVAILABLE, "the instance is gone", fate)
    status, fields, text, _ = answer_of(node.hears())
    assert (status, text) == (503, b"the instance is gone\n")
    assert fields["micro-fate"] == fate.name.lower().replace("_", "-")
    node.check_nothing_is_left()


def test_a_call_that_leads_nowhere_by_then_is_told_so() -> None:
    node = Node()
    node.program.receive_data(
        b"POST /Greeter/Hello HTTP/1.1\r\nHost: greeter\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n"
    )
    node.gone = True
    node.program.receive_data(b"{}")
    status, fields, text, _ = answer_of(node.hears())
    assert (status, fields["micro-fate"], text) == (503, "not-reached", b"here: greeter is gone\n")
    node.check_nothing_is_left()


@pytest.mark.parametrize("asked", [True, False])
def test_a_program_that_leaves_gives_its_call_up(asked: bool) -> None:
    node = Node()
    head = (
        b"POST /Greeter/Hello HTTP/1.1\r\nHost: greeter\r\nContent-Length: 5\r\nContent-Type: application/json\r\n\r\n"
    )
    node.program.receive_data(head + (b"12345" if asked else b"123"))
    node.program.receive_data(b"")
    if asked:
        assert node.stream.reset_by_peer is not None
        assert node.stream.reset_by_peer.status == Status.CANCELLED
    node.check_nothing_is_left()


def test_a_deadline_goes_with_the_call() -> None:
    node = Node()
    mux = Mux()
    near, inside = inner_pair(node.switch, mux, name="program", clock=node.clock)
    mux.attach(inside)
    metadata: Metadata = (":method", "POST", ":scheme", "http", ":authority", "greeter")
    head = CallHead("greeter", "/Greeter/Hello", "http", 0, "application/json", metadata, b"i" * 16)
    mux.open(pack_call_head(head), b"{}", end=True, ms=5000)
    assert node.calls[0][1].ms == 5000
    assert node.calls[0][0].call_id == b"i" * 16
    assert near.streams


def test_an_early_answer_ends_a_long_request() -> None:
    node = Node()
    node.says(bytes(1_000_000), JSON)
    node.replies(status=int(Status.RESOURCE_EXHAUSTED), message="too long for me")
    code, _, body = node.answer()
    assert (code, body["detail"]) == (429, "too long for me")
    node.check_nothing_is_left()
