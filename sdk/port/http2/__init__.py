"""HTTP/2 at frame level: the port of a program that calls, and that of an instance which is called.

This is the forwarding path, so no library is between: a header block that came before is one look-up, body bytes are
passed on unread, and HTTP/2's stream windows *are* the credit of our streams, which begins with the same 64 KiB. So
there is no buffer in this direction, and in the other one no more waits than the peer's window keeps back.

    limits.py       what a peer may provoke
    exchange.py     what is known of one stream
    sending.py      frames out: flow control, header blocks, what waits for the peer
    connection.py   frames in: the rules of RFC 9113 that belong to the connection
    fields.py       header fields
    requests.py     header lists ↔ heads of calls
    answers.py      header lists ↔ reply heads and trailers
    serving.py      the port of a program
    calling.py      the port of an instance
"""

from .calling import Http2CallingPort
from .requests import first_meant
from .serving import Http2ServingPort

__all__ = ["Http2CallingPort", "Http2ServingPort", "first_meant"]
