"""How long a connection of HTTP may take its time, and how long a body may be: what the owner of a node sets.

Which clock runs when, on connections of programs and of instances alike:

    head     from the first byte of a request's head until it is complete; always `HEAD_WITHIN`
    idle     while a program's connection has no call
    stall    while one side has to move and does not: bytes wait for it which it does not take, or it has announced
             bytes (by Content-Length, or the size of a chunk) which it may send and which do not come
    call     from the opening of a call that brings no deadline; not for raw TCP, upgrades and what the node answers

None runs while a call is silent in both directions: a long poll, server-sent events, a stream of gRPC and a WebSocket
may be so for days. What a connection was upgraded to, raw TCP and frames have no clock at all; the system finds out
whether their other end is there.
"""

from dataclasses import dataclass
from typing import Final

HEAD_WITHIN: Final = 10.0
"""Seconds for the head of a request, from its first byte (Apache and HAProxy's manual say 10 to 20, nginx 60)."""

LOOK: Final = 2.5
"""Seconds between looks at what stands still; so much later than it might a connection is ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds and bytes; 0 is no limit."""

    idle: float = 300.0
    """Seconds that a connection of a program which speaks HTTP may be without a call. Browsers and gRPC clients keep
    theirs for five minutes and more; who closes first should be the program (nginx 75 s, Envoy an hour)."""
    stall: float = 300.0
    """Seconds that nothing may move of what should (Envoy's `stream_idle_timeout` has as many; nginx 60)."""
    call: float = 0.0
    """Seconds for a call that brings no deadline of its own."""
    max_body: int = 0
    """Bytes of the body of one request; of a stream of gRPC, of all messages together."""


DEFAULT: Final = Limits()
"""Where nothing else is said."""
