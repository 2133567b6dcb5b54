"""A serving or a calling port with the `h2` package as its peer, joined by bytes in memory.

The sink writes down what the port hands on, in words that a test can compare:

    OPEN 1 END grpc greeter /greeter.Greeter/Hello 5 bytes
"""

import itertools
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events

from sdk.errors import RemoteProtocolError
from sdk.head import (
    CallHead,
    ReplyHead,
    Trailers,
    pack_call_head,
    pack_reply_head,
    pack_trailers,
    parse_call_head_untrusted,
    parse_reply_head_untrusted,
    parse_trailers_untrusted,
)
from sdk.port import Port
from sdk.port.http2 import Http2CallingPort, Http2ServingPort
from sdk.wire import frame, http2
from sdk.wire.frame import DATA, END, HEAD, OPEN, TRAILERS, Fate, Open, Reset
from sdk.wire.hpack import Decoder, Encoder, Headers

GRPC_REQUEST: Headers = (
    ":method", "POST", ":scheme", "http", ":path", "/greeter.Greeter/Hello", ":authority", "node:8081",
    "te", "trailers", "content-type", "application/grpc", "x-tenant", "blue",
)  # fmt: skip
HTTP_REQUEST: Headers = (
    ":method", "GET", ":scheme", "http", ":path", "/hello?a=1", ":authority", "greeter", "accept", "*/*",
)  # fmt: skip
ANSWER: Headers = (":status", "200", "content-type", "application/grpc", "x-first", "a")
STATUS: Headers = ("grpc-status", "0", "x-last", "b")
CALL = CallHead("greeter", "/greeter.Greeter/Hello", "grpc", 0, "application/grpc", ("x-tenant", "blue"), b"i" * 16)
MESSAGE = b"\0\0\0\0\5hello"


class Notes:
    """A sink that keeps the frames it is given, and lets a test answer them as the switch would: within the call."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.deaths: list[str] = []
        self.on_open: Callable[[Port, int], None] | None = None

    def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.frames.append((kind, flags, stream, payload))
        if kind == OPEN:
            port.streams[stream] = None
            if self.on_open is not None:
                self.on_open(port, stream)

    def on_dead(self, port: Port, reason: str) -> None:
        self.deaths.append(reason)

    def take(self) -> list[tuple[int, int, int, bytes]]:
        frames, self.frames = self.frames, []
        return frames

    @property
    def lines(self) -> list[str]:
        """What was said since last time, in words."""
        return [in_words(*each) for each in self.take()]


def in_words(kind: int, flags: int, stream: int, payload: bytes) -> str:
    word = frame.describe(kind, flags, stream, payload).split()[0]
    parts = [word, str(stream)] + ["END"] * bool(flags & END)
    body = payload
    if kind == OPEN:
        opened = frame.split_open_untrusted(payload)
        head = parse_call_head_untrusted(opened.head)
        parts += [head.protocol, head.service, head.endpoint]
        body = opened.body
    elif kind == HEAD:
        packed, body = frame.split_headed_untrusted(payload)
        reply = parse_reply_head_untrusted(packed)
        parts += [str(reply.status), reply.message] if flags & END else []
    elif kind == DATA and flags & TRAILERS:
        packed, body = frame.split_headed_untrusted(payload)
        trailers = parse_trailers_untrusted(packed)
        parts += [str(trailers.status), trailers.message]
    elif kind == frame.RESET:
        reset = frame.parse_reset_untrusted(payload)
        return " ".join([*parts, str(reset.status), Fate(reset.fate).name])
    elif kind == frame.CREDIT:
        return " ".join([*parts, str(frame.parse_u32_untrusted(payload))])
    return " ".join(part for part in [*parts, f"{len(body)} bytes" if body else ""] if part)


def opened(payload: bytes) -> tuple[CallHead, Open]:
    """The head of an OPEN, and its parts."""
    parts = frame.split_open_untrusted(payload)
    return parse_call_head_untrusted(parts.head), parts


def open_payload(head: CallHead = CALL, body: bytes = b"", ms: int = frame.NO_DEADLINE) -> bytes:
    return frame.pack_open(3, b"", ms, pack_call_head(head), body)


def head_payload(head: ReplyHead, body: bytes = b"") -> bytes:
    return frame.pack_headed(pack_reply_head(head), body)


def trailers_payload(trailers: Trailers, body: bytes = b"") -> bytes:
    return frame.pack_headed(pack_trailers(trailers), body)


def reset_payload(status: int, detail: str = "", fate: Fate = Fate.MAY_HAVE_RUN) -> bytes:
    return frame.pack_reset(Reset(status, fate, detail))


def pairs(headers: Headers) -> list[tuple[str, str]]:
    return list(zip(headers[::2], headers[1::2], strict=True))


class Raw:
    """A peer that writes frames by hand, and reads ours: for what the `h2` package would never send."""

    def __init__(self, port: Any, notes: Notes) -> None:
        self.port = port
        self.notes = notes
        self.now = 100.0
        self._encoder = Encoder()
        self._decoder = Decoder()
        self.fault: RemoteProtocolError | None = None

    def block(self, headers: Headers) -> bytes:
        return self._encoder.encode(headers)

    def say(self, *frames: bytes) -> list[str]:
        """Sends frames in one read; what the port answers, in words."""
        self.say_unread(*frames)
        return self.heard()

    def say_unread(self, *frames: bytes) -> None:
        """Sends frames in one read, and leaves the answer for later."""
        try:
            more = self.port.receive_data(b"".join(frames), self.now)
            while more:
                more = self.port.receive_data(b"", self.now)
        except RemoteProtocolError as error:
            self.fault = error

    def headers(self, stream: int, headers: Headers, *, end: bool = False) -> bytes:
        flags = http2.END_HEADERS | (http2.END_STREAM if end else 0)
        return http2.pack_frame(http2.HEADERS, flags, stream, self.block(headers))

    def heard(self) -> list[str]:
        """What the port has sent: frames in one word each, with the code of those that break something off."""
        lines = []
        for kind, flags, stream, payload in http2_frames(self.port.data_to_send(self.now)):
            word = http2.describe(kind, flags, stream, payload)
            if kind == http2.RST_STREAM:
                word = f"RST_STREAM {stream} {http2.ErrorCode(int.from_bytes(payload, 'big')).name}"
            elif kind == http2.GOAWAY:
                last, code = int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")
                word = f"GOAWAY {last} {http2.ErrorCode(code).name}"
            elif kind == http2.HEADERS:
                fields = dict(pairs(self._decoder.decode_untrusted(payload)))
                word = f"{word.rpartition(' ')[0].rpartition(' ')[0]} {fields}"
            lines.append(word)
        return lines


def http2_frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """The frames in what a port sent."""
    data = data.removeprefix(http2.PREFACE)
    frames = []
    while data:
        high, low, kind, flags, stream = http2.HEADER.unpack_from(data)
        stop = 9 + (high << 8 | low)
        frames.append((kind, flags, stream, data[9:stop]))
        data = data[stop:]
    return frames


SETTINGS = http2.pack_frame(http2.SETTINGS, 0, 0, b"")
ACK = http2.pack_frame(http2.SETTINGS, http2.ACK, 0, b"")


def data(stream: int, body: bytes = b"", *, end: bool = False) -> bytes:
    return http2.pack_frame(http2.DATA, http2.END_STREAM if end else 0, stream, body)


def window(stream: int, size: int) -> bytes:
    return http2.pack_frame(http2.WINDOW_UPDATE, 0, stream, frame.pack_u32(size))


def serving(**options: Any) -> tuple[Http2ServingPort, Notes]:
    notes = Notes()
    count = itertools.count()
    port = Http2ServingPort(notes, name="program", ids=lambda: next(count).to_bytes(16, "big"), **options)
    return port, notes


def calling(**options: Any) -> tuple[Http2CallingPort, Notes]:
    notes = Notes()
    return Http2CallingPort(notes, name="instance", authority="10.0.0.1:80", **options), notes


def raw_program(settings: bytes = SETTINGS, **options: Any) -> Raw:
    """A serving port that a hand-written program has greeted."""
    port, notes = serving(**options)
    raw = Raw(port, notes)
    raw.say(http2.PREFACE + settings)
    return raw


def raw_instance(settings: bytes = SETTINGS, **options: Any) -> Raw:
    """A calling port that a hand-written instance has greeted."""
    port, notes = calling(**options)
    raw = Raw(port, notes)
    raw.say(settings)
    return raw


def call(raw: Raw, payload: bytes = b"", flags: int = END) -> int:
    """Opens a call on a calling port, as the switch does."""
    stream: int = raw.port.next_stream()
    raw.port.streams[stream] = None
    raw.port.send(OPEN, flags, stream, payload or open_payload())
    return stream


class Conversation:
    """A port and an `h2` connection at the other end."""

    def __init__(self, port: Any, notes: Notes) -> None:
        self.port = port
        self.notes = notes
        client = isinstance(port, Http2ServingPort)
        config = h2.config.H2Configuration(client_side=client, header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.events: list[h2.events.Event] = []
        self.now = 0.0
        self.pump()

    def pump(self) -> list[h2.events.Event]:
        """Lets both ends talk until neither has more to say; what the `h2` package heard."""
        heard: list[h2.events.Event] = []
        while True:
            there = self.h2.data_to_send()
            here = self.port.data_to_send(self.now)
            if not there and not here:
                break
            if there:
                more = self.port.receive_data(there, self.now)
                while more:
                    more = self.port.receive_data(b"", self.now)
            if here:
                heard += self.h2.receive_data(here)
        self.events += heard
        return heard

    def body(self, stream: int) -> bytes:
        """The body that the `h2` package has got on a stream; its windows stay open."""
        return b"".join(
            each.data or b""
            for each in self.events
            if isinstance(each, h2.events.DataReceived) and each.stream_id == stream
        )


def program(**options: Any) -> Conversation:
    """A program that is the `h2` package."""
    return Conversation(*serving(**options))


def instance(**options: Any) -> Conversation:
    """An instance that is the `h2` package."""
    return Conversation(*calling(**options))
