"""Messages in a body: gRPC's length prefix (grpc.io, "gRPC over HTTP2": Length-Prefixed-Message).

    compressed u8 | length u32 | message

Bodies of `rpc` and `grpc` calls carry these, so that a handler, a grpcio servicer and a go-micro service call one
another without re-framing. Compression is not offered, so a message that claims it is malformed.
"""

from typing import Final

from sdk.errors import RemoteProtocolError, TooManyRequests

PREFIX_SIZE: Final = 5

MAX_MESSAGE: Final = 128 * 1024 * 1024
"""Longest message, in bytes, that is put together in memory. gRPC's own default is 4 MiB; here the sender is held by
credit, so the bound only has to stop a length that was made up."""


def encode_message(data: bytes) -> bytes:
    """A message with its prefix; raises `TooManyRequests` for one that no reader would take."""
    if len(data) > MAX_MESSAGE:
        raise TooManyRequests(f"a message of {len(data)} bytes is over the limit of {MAX_MESSAGE}")
    return b"\0" + len(data).to_bytes(4, "big") + data


class MessageReader:
    """Puts the messages of one direction of a call together again."""

    __slots__ = ("_buffer", "_more", "_size", "_start")

    def __init__(self) -> None:
        self._buffer = b""
        self._start = 0
        self._more: list[bytes] = []
        self._size = 0

    @property
    def pending(self) -> int:
        """Bytes that belong to a message not yet taken; at the end of a body anything but 0 means that it was cut
        off."""
        return self._size

    def feed(self, data: bytes) -> None:
        """Takes body bytes, in order."""
        if self._size:
            self._more.append(data)
        else:
            self._buffer, self._start = data, 0
        self._size += len(data)

    def next_untrusted(self) -> bytes | None:
        """The next message that is complete, or None.

        Raises `RemoteProtocolError` for a compressed message. One above `MAX_MESSAGE` is not malformed: it raises
        `TooManyRequests`, before it is stored.
        """
        if self._size < PREFIX_SIZE:
            return None
        if len(self._buffer) - self._start < PREFIX_SIZE:
            self._join()
        buffer, start = self._buffer, self._start
        if buffer[start]:
            raise RemoteProtocolError("a message is compressed, which was not offered")
        size = PREFIX_SIZE + int.from_bytes(buffer[start + 1 : start + PREFIX_SIZE], "big")
        if size > MAX_MESSAGE + PREFIX_SIZE:
            raise TooManyRequests(f"a message of {size - PREFIX_SIZE} bytes is over the limit of {MAX_MESSAGE}")
        if self._size < size:
            return None
        if len(buffer) - start < size:
            self._join()
            buffer, start = self._buffer, 0
        self._start = start + size
        self._size -= size
        message = buffer[start + PREFIX_SIZE : start + size]
        if self._start == len(buffer):
            self._buffer, self._start = b"", 0
        return message

    def _join(self) -> None:
        """One piece of everything; done at most twice per message, so that a long one is not copied for each of its
        frames."""
        self._buffer = b"".join((self._buffer[self._start :], *self._more))
        self._start = 0
        self._more.clear()
