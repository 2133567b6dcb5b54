"""What test_fuzz.py tries on HTTP/2: each end of a connection with whatever a peer says, and what comes from afar."""

from collections.abc import Callable, Sequence

from sdk.errors import RemoteProtocolError
from sdk.head import CallHead, ReplyHead, Trailers, pack_call_head, pack_reply_head
from sdk.port.http2 import answers
from sdk.port.http2.requests import read_request_untrusted
from sdk.wire import frame, http2
from sdk.wire.hpack import Decoder, Encoder
from tests.sdk.port.http2.ends import (
    ANSWER,
    CALL,
    GRPC_REQUEST,
    HTTP_REQUEST,
    SETTINGS,
    STATUS,
    Raw,
    call,
    calling,
    head_payload,
    open_payload,
    raw_instance,
    raw_program,
    serving,
    trailers_payload,
)
from tests.sdk.port.http2.ends import data as data_frame


def read_as_program(data: bytes) -> object:
    """What a program says to its node over HTTP/2, whose calls are answered as soon as they are opened."""
    raw = Raw(*serving())
    raw.notes.on_open = lambda port, stream: port.send(
        frame.HEAD, frame.END, stream, head_payload(ReplyHead("application/grpc"), b"12345")
    )
    return listened(raw, data)


def read_as_instance(data: bytes) -> object:
    """What an instance answers over HTTP/2, to a gRPC call and one over HTTP."""
    raw = Raw(*calling())
    call(raw)
    call(
        raw,
        frame.pack_open(3, b"", 5000, pack_call_head(CallHead("a", "/a", "http", metadata=(":method", "PUT"))), b""),
    )
    return listened(raw, data)


def listened(raw: Raw, data: bytes) -> object:
    raw.say(data[: len(data) // 2])
    raw.say(data[len(data) // 2 :])
    if raw.fault is not None:
        raise raw.fault
    return raw.notes


def answer_program(data: bytes) -> object:
    """What comes from afar as an answer, given to programs. It is answered for: nothing is raised."""
    for kind in (frame.INTERIM, frame.HEAD, frame.DATA):
        raw = raw_program()
        raw.say(raw.headers(1, GRPC_REQUEST), raw.headers(3, HTTP_REQUEST))
        for flags in (0, frame.END | frame.TRAILERS):
            for stream in (1, 3):
                raw.port.send(kind, flags, stream, data)
        raw.heard()
    return raw


def call_instance(data: bytes) -> object:
    """What comes from afar as a call, sent to an instance. The switch has read the layout of it already."""
    raw = raw_instance()
    try:
        frame.open_layout_untrusted(data)
    except RemoteProtocolError:
        return None
    call(raw, data)
    return raw.heard()


def read_lists(data: bytes) -> object:
    """A header list, taken for each kind of message."""
    headers = Decoder().decode_untrusted(data)
    for read in (
        lambda: read_request_untrusted(headers),
        lambda: answers.read_answer_untrusted(headers, grpc=True),
        lambda: answers.read_answer_untrusted(headers, grpc=False),
        lambda: answers.read_trailers_untrusted(headers, grpc=True),
        lambda: answers.read_trailers_untrusted(headers, grpc=False),
    ):
        try:
            read()
        except http2.StreamFault:
            pass
    return headers


def said_by_program() -> bytes:
    raw = Raw(*serving())
    requests = (GRPC_REQUEST, (*GRPC_REQUEST, "grpc-timeout", "5S", "content-length", "3"), HTTP_REQUEST)
    said = [http2.PREFACE, SETTINGS]
    for stream, headers in zip((1, 3, 5), requests, strict=True):
        said += (raw.headers(stream, headers), data_frame(stream, b"one"), raw.headers(stream, ("x-a", "1"), end=True))
    said += (raw.headers(7, HTTP_REQUEST, end=True), http2.pack_frame(http2.PING, 0, 0, bytes(8)))
    said.append(http2.pack_frame(http2.RST_STREAM, 0, 1, bytes(4)))
    return b"".join(said)


def said_by_instance() -> bytes:
    raw = Raw(*calling())
    said = [SETTINGS, raw.headers(1, ANSWER), data_frame(1, b"hello"), raw.headers(1, STATUS, end=True)]
    said += (raw.headers(3, (":status", "100")), raw.headers(3, (":status", "404", "content-length", "2")))
    said += (data_frame(3, b"no"), raw.headers(3, ("x-a", "1"), end=True), http2.pack_frame(7, 0, 0, bytes(8)))
    return b"".join(said)


_CONNECTION = (
    "_receive_untrusted", "_on_special_untrusted", "_on_data_untrusted", "_on_headers_untrusted", "_on_other_untrusted",
    "_on_settings_untrusted", "_decode_untrusted",
)  # fmt: skip

TARGETS: Sequence[tuple[Callable[[bytes], object], Sequence[bytes], Sequence[str]]] = (
    (
        read_as_program,
        [said_by_program()],
        [
            *(f"connection:Connection.{name}" for name in _CONNECTION),
            "serving:Http2ServingPort._on_trailers_untrusted",
            "serving:Http2ServingPort._read_request_untrusted",
        ],
    ),
    (
        read_as_instance,
        [said_by_instance()],
        ["calling:Http2CallingPort._read_untrusted", "calling:Http2CallingPort._read_trailers_untrusted"],
    ),
    (
        answer_program,
        [
            head_payload(ReplyHead("application/grpc", ("a", "b"), 5, "not found", ("c", "d")), b"body"),
            trailers_payload(Trailers(3, "no", ("a", "b")), b"body"),
            pack_reply_head(ReplyHead("", (":status", "103", "link", "</a>; rel=preload"))),
        ],
        [
            "serving:Http2ServingPort._send_head_untrusted",
            "serving:Http2ServingPort._send_data_untrusted",
            "answers:write_answer_untrusted",
            "answers:write_interim_untrusted",
            "answers:write_trailers_untrusted",
        ],
    ),
    (
        call_instance,
        [open_payload(CALL, b"body", 5000), open_payload(CallHead("a", "A.B"))],
        [
            "calling:Http2CallingPort._send_open_untrusted",
            "requests:write_request_untrusted",
            "requests:_write_grpc_untrusted",
            "requests:_write_http_untrusted",
        ],
    ),
    (
        read_lists,
        [Encoder().encode(each) for each in (GRPC_REQUEST, HTTP_REQUEST, ANSWER, STATUS)],
        [
            "fields:split_untrusted",
            "fields:length_untrusted",
            "requests:read_request_untrusted",
            "answers:read_answer_untrusted",
            "answers:read_trailers_untrusted",
        ],
    ),
)
"""How bytes are read, bytes that are right, and the functions that are tried by it."""
