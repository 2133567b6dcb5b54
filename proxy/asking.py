"""How a program asks for a raw connection, and how it is told that it gets none."""

import trio

from sdk.errors import RemoteProtocolError, Status
from sdk.firstbytes import FIRST_SIZE
from sdk.wire.frame import RESET, Fate, Reset, pack_reset

from .answering import AnsweringPort
from .connect import ConnectRequest
from .sni import ClientHello
from .socks import SocksRequest
from .tcp import STREAM
from .visit import Visit

Request = ConnectRequest | SocksRequest | ClientHello
"""Reads how it asks."""


async def read_asked(request: Request, visit: Visit, data: bytes) -> tuple[tuple[bytes, bytes] | None, str]:
    """The packed head of the call that a program asks for, and what came behind; or nothing, and why. `data` was read
    already."""
    with trio.move_on_at(visit.due):
        try:
            while data:
                asked = request.receive_untrusted(data)
                if words := request.data_to_send():
                    await visit.transport.send_all(words)
                if asked is not None:
                    return asked, ""
                data = await visit.transport.receive_some(FIRST_SIZE)
        except (RemoteProtocolError, trio.BrokenResourceError) as error:
            return None, str(error) or "the connection broke"
        return None, "the connection ended within its request"
    return None, "its request did not end within the time that it has"


def turn_away(port: AnsweringPort, status: Status, reason: str) -> None:
    """Tells the program why there is no connection."""
    port.send(RESET, 0, STREAM, pack_reset(Reset(status, Fate.NOT_REACHED, reason)))
