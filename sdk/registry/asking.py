"""How mdns asks: from a port of its own, so that the answer comes at once and to whoever asked.

What is asked from port 5353 is answered to everybody, up to 1.3 s later if it was said a moment ago (RFC 6762 section
6). What is asked from any other port is answered to that port at once (section 6.7), which several programs of one host
need even more: they share port 5353, and what is sent to one of them there reaches any of them.

All of it runs on zeroconf's loop, in zeroconf's thread.
"""

import logging
import random
import socket
from collections.abc import Callable

from zeroconf import DNSOutgoing, Zeroconf  # type: ignore[attr-defined] # left out of its __all__
from zeroconf.const import _MDNS_PORT

BUFFER = 1 << 20
"""Bytes that may wait to be read. The system gives what it allows, by default twice as much as without asking."""

PORT: int = _MDNS_PORT
"""5353; by name, so that zeroconf and what is built around it here are always at the same one."""

_GROUP = ("224.0.0.251", PORT)
_LONGEST = 9000
"""Bytes of a packet of multicast DNS (RFC 6762 section 17)."""

logger = logging.getLogger(__name__)


def new_question() -> DNSOutgoing:
    """A question to add to. It has a number of its own: zeroconf takes the same bytes twice in a second for an echo."""
    return DNSOutgoing(0, False, random.randrange(1, 1 << 16))


class Asking:
    """A socket that questions go out of, on every interface, and answers come in at."""

    def __init__(self, zeroconf: Zeroconf, take: Callable[[bytes, tuple[str, int]], object]) -> None:
        """`take` is given each packet that comes, and its sender. Raises `OSError` when there are no sockets left."""
        assert zeroconf.loop is not None
        self._zeroconf = zeroconf
        self._loop = zeroconf.loop
        self._take = take
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        self.socket.bind(("", 0))
        self._loop.add_reader(self.socket, self._read)

    def ask(self, question: DNSOutgoing) -> None:
        """Sends a question out of every interface; one that is gone is passed over."""
        for packet in question.packets():
            for address in {sender.sock_name[0] for sender in self._zeroconf.engine.senders}:
                try:
                    self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
                    self.socket.sendto(packet, _GROUP)
                except OSError as error:
                    logger.debug("mdns cannot ask on the interface of %s: %s", address, error)

    def close(self) -> None:
        """Reads no answers any more."""
        self._loop.remove_reader(self.socket)
        self.socket.close()

    def _read(self) -> None:
        try:
            data, address = self.socket.recvfrom(_LONGEST)
        except OSError:  # nothing there after all, or an answer of the network to what was sent
            return
        self._take(data, address)
