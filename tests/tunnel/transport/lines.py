"""Lines to test with."""

from typing import Any

from tunnel.transport.line import MemoryLine
from tunnel.transport.memory import MemoryStream
from tunnel.transport.way import CHUNKS


async def fill(stream: MemoryStream) -> None:
    """Writes until a smooth line takes no more."""
    for _ in range(CHUNKS):
        await stream.send_all(b"x")


def line_of(delay: float, *, seed: str = "", **quality: Any) -> MemoryLine:
    line = MemoryLine(seed=seed)
    line.delay = delay
    for name, value in quality.items():
        setattr(line, name, value)
    return line
