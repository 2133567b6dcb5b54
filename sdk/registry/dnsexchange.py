"""Asks servers of DNS: over UDP, over TCP what is too long for that, and the next server where one does not answer.

dnspython's own resolver is not used, because it measures its patience by the clock of the wall, tells nothing of what
was said besides, and takes an answer wholly or not at all.
"""

import socket
from collections.abc import Sequence
from typing import Final

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import trio

from sdk.errors import RemoteProtocolError, Unavailable
from sdk.netaddress import join_address

from .dnsmessage import Reply, parse_reply_untrusted, question
from .http import PATIENCE

TRY: Final = 1.0
"""Seconds that a server may stay silent before the next is asked; the second time each has its share of the rest."""
CHAIN: Final = 8
"""How many times a name that stands for another is followed."""

_TOLD: Final = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
_UNEXTENDED: Final = (dns.rcode.FORMERR, dns.rcode.NOTIMP)


class _Failed(Exception):
    """This server will not answer, and why."""


class Exchange:
    """Asks some servers, first the one that answered last."""

    def __init__(self, servers: Sequence[tuple[str, int]]) -> None:
        """Each is an IP address and a port; there is at least one."""
        self._servers = list(servers)

    async def ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Reply:
        """What there is of a name and a type, in at most `PATIENCE` seconds for each name that it stands for.

        Raises `Unavailable` when no server gives an answer that can be used, with what each one did.
        """
        for _ in range(CHAIN):
            reply = await self._ask(name, kind)
            if reply.records.of or reply.name == name or reply.code == dns.rcode.NXDOMAIN:
                return reply
            # A server that does not ask others tells only where the name leads to.
            name = reply.name
        raise Unavailable(f"{name} stands for another name, and that again: it was followed {CHAIN} times")

    async def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Reply:
        silent, failed = list(self._servers), {}
        share = PATIENCE / len(silent)
        first = min(TRY, share / 2)
        with trio.move_on_after(PATIENCE):
            for wait in (first, share - first):
                for server in list(silent):
                    try:
                        reply = await _ask_one(server, name, kind, wait, share)
                    except _Failed as error:
                        silent.remove(server)
                        failed[server] = str(error)
                        continue
                    if reply is not None:
                        self._servers.sort(key=server.__ne__)
                        return reply
        failed |= dict.fromkeys(silent, f"nothing to the question within {PATIENCE:g} s")
        each = "; ".join(f"{join_address(*server)}: {failed[server]}" for server in self._servers)
        raise Unavailable(f"no answer for {name.to_text(omit_final_dot=True)}: {each}")


async def _ask_one(
    server: tuple[str, int], name: dns.name.Name, kind: dns.rdatatype.RdataType, wait: float, share: float
) -> Reply | None:
    """None when it stays silent for `wait` seconds, or over TCP, where it is there and has much to say, for `share`.

    Raises `_Failed` for what will be no better a second later.
    """
    try:
        reply = None
        for extended in (True, False):
            with trio.move_on_after(wait):
                reply = await _over_udp(server, question(name, kind, extended=extended))
            if reply is None or reply.code not in _UNEXTENDED:
                break
        if reply is not None and reply.cut:
            reply = None
            with trio.move_on_after(share):
                reply = await _over_tcp(server, question(name, kind, extended=extended))
    except OSError as error:
        raise _Failed(error.strerror or str(error)) from None
    except RemoteProtocolError as error:
        raise _Failed(str(error)) from None
    if reply is not None:
        _check(reply)
    return reply


def _check(reply: Reply) -> None:
    if reply.code not in _TOLD:
        raise _Failed(f"it answers {dns.rcode.to_text(reply.code)}")
    if reply.elsewhere:
        raise _Failed("it does not keep this name, and asks nobody else for it")
    if reply.cut:
        raise _Failed("its answer is longer than 64 KiB: spread the instances over several names")


async def _over_udp(server: tuple[str, int], asked: dns.message.Message) -> Reply:
    """Waits for an answer that belongs to the question; anybody could send another."""
    with trio.socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM) as bound:
        await bound.connect(server)  # from here on the kernel drops what others send
        await bound.send(asked.to_wire())
        while True:
            try:
                return parse_reply_untrusted(await bound.recv(65535), asked)
            except RemoteProtocolError:
                pass


async def _over_tcp(server: tuple[str, int], asked: dns.message.Message) -> Reply:
    try:
        async with await trio.open_tcp_stream(*server) as stream:
            await stream.send_all(asked.to_wire(prepend_length=True))
            length = int.from_bytes(await _exactly(stream, 2), "big")
            return parse_reply_untrusted(await _exactly(stream, length), asked)
    except trio.BrokenResourceError:
        raise _Failed("it breaks the connection over TCP, and its answer is too long for UDP") from None


async def _exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await stream.receive_some(count - len(data))
        if not piece:
            raise _Failed("it ends the connection over TCP, and its answer is too long for UDP")
        data += piece
    return data
