"""Both ends of HTTP/1.1 back to back: what a program says is what an instance hears, whatever lies between."""

from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .test_http1calling import Instance, requests_in
from .test_http1calling import head as call_head
from .test_http1serving import Program, answer_of
from .test_http1serving import reply as reply_head

HEAD_OF_ANSWER = reply_head()


def relay(program: Program, instance: Instance, opened: int) -> bytes:
    """Carries one call from a program to an instance and back as nodes do; what the instance heard."""
    _, call, caller = program.calls[opened]
    assert caller.ended
    stream = instance.mux.open(call.head, caller.take(), end=not caller.trailers)
    if caller.trailers:
        stream.end(caller.trailers)
    return instance.hears()


@given(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]),
    st.lists(st.binary(min_size=1, max_size=300), max_size=4),
    st.booleans(),
    st.lists(st.binary(min_size=1, max_size=300), max_size=4),
    st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_requests_and_answers_arrive_as_they_were_sent(
    method: str, request: list[bytes], chunked: bool, answer: list[bytes], answer_chunked: bool
) -> None:
    client = h11.Connection(h11.CLIENT)
    size = sum(map(len, request))
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(size))
    headers = [("Host", "greeter"), ("Content-Type", "a/b"), ("X-A", "1"), framing]
    data = client.send(h11.Request(method=method, target="/a?b", headers=headers)) or b""
    for part in request:
        data += client.send(h11.Data(data=part)) or b""
    data += client.send(h11.EndOfMessage(headers=[("X-Sum", "1")] if chunked else [])) or b""
    program, instance = Program(), Instance()
    program.says(data)
    [(heard, body, trailers)] = requests_in(relay(program, instance, 0))
    fields = dict(heard.headers)
    assert (heard.method, heard.target, body) == (method.encode(), b"/a?b", b"".join(request))
    assert (fields[b"host"], fields[b"content-type"], fields[b"x-a"]) == (b"greeter", b"a/b", b"1")
    assert trailers == ([(b"x-sum", b"1")] if chunked else [])

    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    while not isinstance(server.next_event(), h11.EndOfMessage):
        pass
    framing = ("Transfer-Encoding", "chunked") if answer_chunked else ("Content-Length", str(sum(map(len, answer))))
    data = server.send(h11.Response(status_code=201, headers=[("X-B", "2"), framing])) or b""
    for part in answer:
        data += server.send(h11.Data(data=part)) or b""
    data += server.send(h11.EndOfMessage()) or b""
    stream = next(iter(instance.port.streams.values()))
    instance.says(data)
    program.stream.send_head(stream.head)
    program.stream.write(stream.take())
    program.stream.end()
    status, headers_read, body, complete = answer_of(program.hears(), method)
    assert (status, headers_read["x-b"], headers_read["via"], body) == (201, "2", "1.1 micro", b"".join(answer))
    assert complete
    assert instance.port.free


HEADS = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"\r\n",
)
PIECES = st.lists(st.one_of(st.sampled_from(HEADS), st.binary(max_size=20)), max_size=8)


@given(PIECES, st.data())
@settings(deadline=None, max_examples=200)
def test_whatever_a_program_says_the_port_neither_raises_nor_keeps_much_of_it(pieces: list[bytes], more: Any) -> None:
    program = Program()
    for piece in pieces:
        program.says(piece)
        if program.port.streams and more.draw(st.booleans()):
            program.stream.take()
            program.stream.send_head(HEAD_OF_ANSWER, b"x", end=more.draw(st.booleans()))
        program.hears()
    program.says(b"")
    program.port.connection_lost("the end")
    assert not program.port.streams


@given(PIECES, st.sampled_from(["", "x"]))
@settings(deadline=None, max_examples=200)
def test_whatever_an_instance_says_the_port_neither_raises_nor_keeps_much_of_it(pieces: list[bytes], up: str) -> None:
    instance = Instance()
    for piece in pieces:
        if instance.port.free:
            stream = instance.mux.open(call_head(upgrade=up), end=not up)
            instance.hears()
        instance.says(piece)
        stream.take()
        instance.hears()
    instance.says(b"")
    instance.port.connection_lost("the end")
    assert not instance.port.streams
    assert len(instance.port._buffer) == 0


@pytest.mark.parametrize("end", [True, False])
def test_a_port_that_is_closed_from_here_is_broken_off(end: bool) -> None:
    instance = Instance()
    stream = instance.call(end=end)
    instance.port.close("the instance is gone from the registry")
    assert instance.port.reset is not None
    instance.port.connection_lost(instance.port.reset.detail)
    assert stream.reset_by_peer is not None
    assert "gone from the registry" in stream.reset_by_peer.detail
