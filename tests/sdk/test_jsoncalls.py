"""HTTP calls in JSON, answered by calls of gRPC's on a mux. (`tests/proxy/test_jsonbridge.py` tries the rest.)"""

import json

from sdk.head import CallHead, Metadata, ReplyHead, pack_call_head, pack_reply_head, parse_call_head_untrusted
from sdk.jsoncalls import JsonCalls
from sdk.port.inner import inner_pair
from sdk.wire.frame import Open
from sdk.wire.message import encode_message
from sdk.wire.mux import Mux, MuxStream


class Bench:
    """A program on one side of the calls, and whoever answers on the other."""

    def __init__(self, listing: bytes | None = None) -> None:
        self.answering: list[tuple[MuxStream, Open]] = []
        callees = Mux()
        calls = JsonCalls(callees, name="greeter", listing=None if listing is None else lambda: listing)
        self.program = Mux()
        for near, far in (
            (self.program, Mux(on_open=calls.on_open)),
            (callees, Mux(on_open=lambda stream, opened: self.answering.append((stream, opened)))),
        ):
            here, there = inner_pair(near, far, name="greeter", clock=lambda: 0.0)
            near.attach(here)
            far.attach(there)

    def ask(self, method: str, path: str, body: bytes = b"") -> MuxStream:
        metadata: Metadata = (":method", method, ":scheme", "http", ":authority", "greeter")
        head = CallHead("greeter", path, "http", 0, "application/json", metadata, b"i" * 16)
        return self.program.open(pack_call_head(head), body, end=True)


def test_a_call_in_json_is_a_call_of_grpc_and_back() -> None:
    bench = Bench()
    asked = bench.ask("POST", "/Greeter/Hello", b'{"name":"Ada"}')
    [(stream, opened)] = bench.answering
    head = parse_call_head_untrusted(opened.head)
    assert (head.endpoint, head.protocol, head.content_type) == (
        "/greeter.Greeter/Hello", "grpc", "application/grpc+json",
    )  # fmt: skip
    assert opened.body == encode_message(b'{"name":"Ada"}')
    stream.send_head(pack_reply_head(ReplyHead("application/grpc+json")), encode_message(b'"Hello"'), end=True)
    assert asked.take() == b'"Hello"'


def test_the_root_is_a_listing_where_there_is_one_and_no_other_path_or_method_is() -> None:
    bench = Bench(b'{"service":"greeter"}')
    assert bench.ask("GET", "/").take() == b'{"service":"greeter"}'
    assert json.loads(bench.ask("POST", "/").take())["code"] == 404
    assert json.loads(bench.ask("GET", "/Greeter/Hello").take())["code"] == 405
    assert json.loads(Bench().ask("GET", "/").take())["code"] == 405
    assert not bench.answering
