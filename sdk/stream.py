"""A stream of the mux as a trio stream: bytes both ways, half-close, back-pressure by credit.

It keeps every promise of `trio.abc.HalfCloseableStream` (trio's own conformance suite tests it): a peer that closed
is end-of-file to the reader and breakage to the writer.
"""

import operator

import trio

from .wire.mux import MuxStream


class Stream(trio.abc.HalfCloseableStream):
    """A trio stream over a `MuxStream`."""

    def __init__(self, mux_stream: MuxStream) -> None:
        """Takes the stream over; nobody else may use it."""
        self._mux_stream = mux_stream
        self._closed = False
        self._sent_eof = False
        self._changed = trio.lowlevel.ParkingLot()
        self._sending = False
        self._receiving = False
        mux_stream.on_change = self._on_change

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends everything, waiting for credit.

        Raises `trio.BrokenResourceError` when the peer wants no more or the call was cut short (the text says why),
        `trio.ClosedResourceError` after `aclose` or `send_eof`. Cancelled, an unknown part was sent: only `aclose`
        makes sense then.
        """
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_writable()
            view = memoryview(data)
            while view:
                view = view[self._mux_stream.write(view) :]
                if view:
                    await self._changed.park()
                    self._check_writable()
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """Waits until there is credit, or the stream is over."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_open()
            while self._mux_stream.may_send <= 0 and not self._over():
                await self._changed.park()
                self._check_open()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """Sends nothing more; receiving goes on."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_open()
            self._sent_eof = True
            self._mux_stream.end()
        finally:
            self._sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived, at most `max_bytes`; `b""` when the peer is done. Raises `trio.BrokenResourceError` when
        it was cut short."""
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this stream")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            stream = self._mux_stream
            while True:
                self._check_open()
                if stream.buffered:
                    return stream.take(max_bytes)
                if stream.cut and stream.reset_by_peer:
                    raise trio.BrokenResourceError(stream.reset_by_peer.detail)
                if stream.ended:
                    return b""
                await self._changed.park()
        finally:
            self._receiving = False

    async def aclose(self) -> None:
        """Closes both directions: the peer reads end-of-file, and its writes break."""
        if not self._closed:
            self._closed = True
            self._mux_stream.stop()
            self._mux_stream.end()
            self._changed.unpark_all()
        await trio.lowlevel.checkpoint()

    def _on_change(self) -> None:
        self._changed.unpark_all()

    def _over(self) -> bool:
        stream = self._mux_stream
        return stream.stopped or stream.reset_by_peer is not None

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")

    def _check_writable(self) -> None:
        self._check_open()
        if self._sent_eof:
            raise trio.ClosedResourceError("end-of-file was sent on this stream")
        if self._over():
            reset = self._mux_stream.reset_by_peer
            raise trio.BrokenResourceError(reset.detail if reset else "the peer closed the stream")
