"""Calls between HTTP/2 at both ends of a node, in whatever order things happen: nothing is left behind, and bodies
arrive whole."""

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.switch import Switch
from sdk.port.http2 import Http2CallingPort, Http2ServingPort
from sdk.wire import frame, http2
from tests.proxy.grpcnode import OneInstance
from tests.sdk.port.http2.ends import (
    ANSWER,
    GRPC_REQUEST,
    HTTP_REQUEST,
    SETTINGS,
    STATUS,
    Raw,
    data,
    http2_frames,
    window,
)

STEP = st.tuples(
    st.sampled_from(
        ["open", "open whole", "body", "end", "trailers", "cancel", "write", "write", "answer", "answer whole", "reply",
         "finish", "refuse", "window"]
    ),
    st.integers(0, 5),
    st.integers(0, 20_000),
)  # fmt: skip


class Node:
    """A switch between a program and an instance that are written by hand."""

    def __init__(self) -> None:
        self.switch = Switch(me=b"n" * 16, name="node")
        count = itertools.count()
        calling = Http2CallingPort(self.switch, name="instance", authority="10.0.0.1:80")
        serving = Http2ServingPort(self.switch, name="program", ids=lambda: next(count).to_bytes(16, "big"))
        self.switch.ingress = self.switch.egress = OneInstance(calling)
        self.program, self.instance = Raw(serving, Any), Raw(calling, Any)  # type: ignore[arg-type]
        self.program.say_unread(http2.PREFACE + SETTINGS)
        self.instance.say_unread(SETTINGS)
        self.asked: dict[int, bytes] = {}
        self.heard: dict[int, bytes] = {}
        self.whole: set[int] = set()

    def write(self) -> None:
        """Lets both ends of the node write, and notes what arrived."""
        for raw, bodies in ((self.program, self.heard), (self.instance, self.asked)):
            for kind, flags, stream, payload in http2_frames(raw.port.data_to_send(0.0)):
                if kind == http2.DATA:
                    bodies[stream] = bodies.get(stream, b"") + payload
                if kind in (http2.DATA, http2.HEADERS) and flags & http2.END_STREAM and raw is self.program:
                    self.whole.add(stream)


class Call:
    """What the program and the instance may still do with a stream, so that neither breaks the rules."""

    def __init__(self, *, grpc: bool) -> None:
        self.grpc = grpc
        self.may_send = self.may_answer = True
        self.began = False
        self.room = self.answer_room = frame.INITIAL_CREDIT
        self.sent = self.answered = b""


def play(node: Node, steps: list[tuple[str, int, int]]) -> dict[int, Call]:
    calls: dict[int, Call] = {}
    last = 1
    for step, pick, size in steps:
        if step.startswith("open"):
            grpc = pick % 2 == 0
            call = calls[last] = Call(grpc=grpc)
            call.may_send = step == "open"
            request = GRPC_REQUEST if grpc else (":method", "POST", *HTTP_REQUEST[2:])
            node.program.say_unread(node.program.headers(last, request, end=step == "open whole"))
            last += 2
            continue
        if step == "write":
            node.write()
        if not calls:
            continue
        stream = list(calls)[pick % len(calls)]
        call = calls[stream]
        body = bytes([stream % 251]) * min(size, 16_384)
        if call.may_send:
            if step in ("body", "end") and len(body) <= call.room:
                call.room -= len(body)
                call.sent += body
                call.may_send = step == "body"
                node.program.say_unread(data(stream, body, end=step == "end"))
            elif step == "trailers":
                call.may_send = False
                node.program.say_unread(node.program.headers(stream, ("x-sum", "1"), end=True))
        if step == "cancel":
            call.may_send = call.may_answer = False
            node.program.say_unread(http2.pack_frame(http2.RST_STREAM, 0, stream, frame.pack_u32(8)))
        elif step == "window":
            node.program.say_unread(window(0, size + 1), window(stream, size + 1))
            node.instance.say_unread(window(0, size + 1))
        elif call.may_answer and step in ("answer", "answer whole", "reply", "finish", "refuse"):
            reply(node, stream, call, step, body)
    return calls


def reply(node: Node, stream: int, call: Call, step: str, body: bytes) -> None:
    say, raw = node.instance.say_unread, node.instance
    head = ANSWER if call.grpc else (":status", "200")
    end = raw.headers
    if step == "refuse":
        call.may_answer = call.may_send = False
        say(http2.pack_frame(http2.RST_STREAM, 0, stream, frame.pack_u32(7)))
    elif not call.began and step in ("answer", "answer whole"):
        call.began = True
        said = [raw.headers(stream, head)]
        if step == "answer whole" and len(body) <= call.answer_room:
            call.answered += body
            call.may_answer = False
            said += [data(stream, body), end(stream, STATUS if call.grpc else ("x-sum", "1"), end=True)]
        say(*said)
    elif call.began and step == "reply" and len(body) <= call.answer_room:
        call.answer_room -= len(body)
        call.answered += body
        say(data(stream, body))
    elif call.began and step == "finish":
        call.may_answer = False
        say(end(stream, STATUS, end=True) if call.grpc else data(stream, b"", end=True))


@settings(max_examples=400)
@given(st.lists(STEP, max_size=60))
def test_whatever_happens_in_whatever_order_nothing_is_left_behind(steps: list[tuple[str, int, int]]) -> None:
    node = Node()
    calls = play(node, steps)
    node.write()
    for stream, call in calls.items():
        node.program.say_unread(window(stream, 1 << 20))
        if call.may_send or stream not in node.whole:
            node.program.say_unread(http2.pack_frame(http2.RST_STREAM, 0, stream, frame.pack_u32(8)))
    node.program.say_unread(window(0, 1 << 20))
    node.instance.say_unread(window(0, 1 << 20))
    node.write()
    assert node.program.fault is None
    assert node.instance.fault is None
    for port in (node.program.port, node.instance.port):
        assert not port.streams
        assert not port._exchanges
        assert not port._ready
        assert (port.held, port.queued) == (0, 0)
    assert node.switch.statistics()["open"] == 0
    for stream, call in calls.items():
        assert call.sent.startswith(node.asked.get(stream, b""))
        if call.began:  # else it is an answer of the node itself
            assert call.answered.startswith(node.heard.get(stream, b""))
