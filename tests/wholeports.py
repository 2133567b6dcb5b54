"""What test_fuzz.py tries besides single functions: a whole port, or a whole node, whose peer says anything."""

from collections.abc import Callable, Sequence

from sdk.head import ReplyHead, pack_reply_head
from sdk.wire import frame
from tests.proxy import crowd
from tests.sdk.port.test_http1calling import OK, Instance
from tests.sdk.port.test_http1serving import Program as WebProgram
from tests.tunnel.test_linkport import carry, meet, pair

WEB_REPLY = pack_reply_head(ReplyHead("text/plain", (":status", "200")))


def read_as_web_program(data: bytes) -> object:
    """What a program says to its node over HTTP/1.1; each call is answered when half of everything has come."""
    program = WebProgram()
    for part in (data[: len(data) // 2], data[len(data) // 2 :]):
        while part and (size := program.port.may_read):
            program.port.receive_data(part[:size])
            part = part[size:]
        for _, _, stream in program.calls:
            stream.take()
            if stream.head is None and not stream.sent_end:
                stream.send_head(WEB_REPLY, b"hello", end=True)
        program.hears()
    program.port.receive_data(b"")
    program.port.connection_lost("the test is over")
    assert not program.port.streams
    return program.calls


def read_as_web_instance(data: bytes) -> object:
    """What an instance answers over HTTP/1.1, to as many calls as it takes."""
    instance = Instance()
    calls = [instance.call("POST", b"hello", end=len(data) % 2 == 0)]
    for part in (data[: len(data) // 2], data[len(data) // 2 :]):
        instance.hears()
        while part and (size := instance.port.may_read):
            instance.port.receive_data(part[:size])
            part = part[size:]
        for call in calls:
            call.take()
            call.end()
        if instance.free and not instance.dead and not instance.port.streams:
            instance.free.clear()
            calls.append(instance.call())
    instance.port.receive_data(b"")
    instance.port.connection_lost("the test is over")
    assert all(call.ended for call in calls)
    return calls


def read_records(data: bytes) -> object:
    """What a linked node says inside of records: frames of streams, control messages, pings."""
    a, b = pair()
    meet(a, b)
    for start in range(0, len(data), 100):
        piece = data[start : start + 100]
        sealed = a.port._seal(piece)
        more = b.port.receive_data(len(sealed).to_bytes(2, "big") + sealed, 1.0)
        while more:
            more = b.port.receive_data(b"", 1.0)
    carry(b, a)
    b.port.connection_lost("the test is over")
    return b.recorder.frames


CONTROL = frame.pack_frame(frame.CONTROL, frame.END, 0, b"hello")
BY_WEB_PROGRAM = (
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\nHost:a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
)
BY_WEB_INSTANCE = (
    OK + OK,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nX-A: b\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\n\r\nuntil the end",
)
WHOLE: Sequence[tuple[str, Callable[[bytes], object], Sequence[bytes], int]] = (
    ("a program over HTTP/1.1", read_as_web_program, BY_WEB_PROGRAM, 3000),
    ("an instance over HTTP/1.1", read_as_web_instance, BY_WEB_INSTANCE, 3000),
    ("a linked node in records", read_records, [CONTROL + crowd.said_by_node() + CONTROL], 3000),
    *((name, read, valid, 500) for name, read, valid in crowd.TARGETS),
)
"""A name, how bytes are read, bytes that are right, and how many a test tries."""
