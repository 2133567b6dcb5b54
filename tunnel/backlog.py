"""What waits for a busy link: frames by stream, small calls before bulk, and each stream its share.

A stream is *bulk* from the moment when more than 64 KiB of it wait until nothing of it does; all others are *small* and
go first, but for an eighth that bulk always gets. Inside a class streams take turns by deficit round robin (Shreedhar
and Varghese, 1995) with a quantum of a quarter of the write. Within a stream order never changes. A DATA frame that
does not fit into what may be written now is cut in two, so that a slow link is never held up by one frame.
"""

from collections import deque
from typing import Final

from sdk.wire.frame import DATA, END, HEADER, HEADER_SIZE, TRAILERS

BULK: Final = 65536
"""Bytes of a stream that wait from which on it is bulk: as much as anybody may send unasked."""

TURNS: Final = 4
"""Streams of a class that get their turn in one write: more would only cut frames into more pieces."""

LEAST: Final = 1024
"""Shortest piece that a DATA frame is cut into, in bytes, so that its header stays under one percent."""

SHARE: Final = 8
"""One in so many bytes is for bulk streams, whatever the small ones want."""

_pack_header = HEADER.pack


class _Queue:
    """The frames of one stream."""

    __slots__ = ("bulk", "deficit", "frames", "size", "stream")

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.frames: deque[tuple[int, int, bytes]] = deque()
        self.size = 0
        self.deficit = 0
        self.bulk = False


class Backlog:
    """The frames that wait. Empty most of the time: then frames need not come here."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes that wait, with the headers of their frames."""
        self.small = 0
        """Those of small streams: what a new call would wait for."""
        self._queues: dict[int, _Queue] = {}
        self._small: deque[_Queue] = deque()
        self._bulk: deque[_Queue] = deque()
        self._quantum = LEAST
        self._owed = 0  # bytes that bulk streams were promised

    def __contains__(self, stream: int) -> bool:
        return stream in self._queues

    def push(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Adds a frame behind those of its stream."""
        queue = self._queues.get(stream)
        if queue is None:
            queue = self._queues[stream] = _Queue(stream)
            self._small.append(queue)
        size = len(payload) + HEADER_SIZE
        queue.frames.append((kind, flags, payload))
        queue.size += size
        self.size += size
        if queue.bulk:
            return
        self.small += size
        if queue.size > BULK:
            queue.bulk = True
            self.small -= queue.size
            self._small.remove(queue)
            self._bulk.append(queue)

    def drop(self, stream: int) -> None:
        """Forgets what waits of a stream; of one that is not there it does nothing."""
        queue = self._queues.pop(stream, None)
        if queue is not None:
            self.size -= queue.size
            if not queue.bulk:
                self.small -= queue.size
            (self._bulk if queue.bulk else self._small).remove(queue)

    def take(self, budget: int) -> list[bytes]:
        """Removes frames for about so many bytes, at least one; returns headers and payloads in turn."""
        out: list[bytes] = []
        self._quantum = min(BULK + HEADER_SIZE, max(LEAST, budget // TURNS))
        if self._small and self._bulk:
            self._owed += budget // SHARE
            if self._owed >= LEAST:
                for_bulk, self._owed = self._owed, 0
                budget -= self._serve(self._bulk, for_bulk, out)
        if self._small:
            budget -= self._serve(self._small, budget, out)
        if self._bulk and (budget > 0 or not out):
            self._serve(self._bulk, max(budget, 1), out)
        return out

    def _serve(self, ring: deque[_Queue], budget: int, out: list[bytes]) -> int:
        """Lets the streams of a class take turns; returns how many bytes they sent."""
        left = budget
        while ring and left > 0:
            queue = ring[0]
            alone = len(ring) == 1
            if alone:
                queue.deficit = left
            elif queue.deficit <= 0:
                queue.deficit += self._quantum
            while queue.frames and queue.deficit > 0 and left > 0:
                sent = self._send(queue, min(queue.deficit, left), out)
                queue.deficit -= sent
                left -= sent
            if not queue.frames:
                ring.popleft()
                del self._queues[queue.stream]
            elif queue.deficit <= 0 or alone:
                ring.rotate(-1)
        return budget - left

    def _send(self, queue: _Queue, most: int, out: list[bytes]) -> int:
        """Sends the first frame of a stream, or of a DATA frame as much as may be sent now."""
        kind, flags, payload = queue.frames[0]
        size = len(payload) + HEADER_SIZE
        cut = max(most, LEAST) - HEADER_SIZE
        if size - most > LEAST and kind == DATA and not flags & TRAILERS:
            queue.frames[0] = (kind, flags, payload[cut:])
            payload, flags = payload[:cut], flags & ~END
            size = cut + HEADER_SIZE
            waited = cut
        else:
            queue.frames.popleft()
            waited = size
        queue.size -= waited
        self.size -= waited
        if not queue.bulk:
            self.small -= waited
        out += (_pack_header(len(payload), kind, flags, queue.stream), payload)
        return size
