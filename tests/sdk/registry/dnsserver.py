"""A DNS server in a thread of its own, for tests of registries: over UDP and TCP, and as bad as it is told to be."""

import contextlib
import functools
import selectors
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.sdk.registry.dnswriter import ZoneServer

Zone = dict[tuple[str, str], list[str] | dns.rcode.Rcode]
"""The records of a name and type as text, or a code to answer with. A name without any is not known."""


def plainly(answer: dns.message.Message, most: int) -> list[bytes]:
    """The datagrams, or the messages over TCP, that say it in at most so many bytes."""
    if sum(map(len, answer.answer)) > most // 20:  # saves the time to find out
        answer.flags |= dns.flags.TC
        for section in (answer.answer, answer.additional):
            section.clear()
    return [answer.to_wire(max_size=most, prefer_truncation=True)]


@functools.lru_cache(maxsize=4096)  # reading a thousand takes longer than everything that is tried with them
def _read(name: str, ttl: int, kind: str, texts: tuple[str, ...]) -> dns.rrset.RRset:
    return dns.rrset.from_text_list(name, ttl, "IN", kind, texts)


class DnsServer(ZoneServer):
    """Inside its `with` it runs; it may be killed and started again on its port."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__()
        self.zone: Zone = {}
        self.besides: Mapping[str, list[str]] | None = None
        """What is said besides SRV records, by type and name, as `A a.example`; None: all targets' addresses."""
        self.ttl = 5
        self.asked: list[tuple[str, str]] = []
        self.over_tcp = 0
        """How many questions came over TCP."""
        self.say: Callable[[dns.message.Message, int], list[bytes]] = plainly
        """What is sent for an answer."""
        self.unextended = False
        """It is of before EDNS."""
        self.sender: tuple[str, int] = ("", 0)
        """Who asked last over UDP."""
        self._host = host
        self.port = 0
        self._going = threading.Event()
        self._going.set()

    @property
    def address(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self.port}"

    def keep(self, records: Mapping[tuple[str, str], Sequence[str]]) -> None:
        for where, texts in records.items():
            if texts:
                self.zone[where] = list(texts)
            else:
                self.zone.pop(where, None)

    @property
    def server(self) -> tuple[str, int]:
        return self._host, self.port

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._sockets = contextlib.ExitStack()
        patience = 1000
        while True:
            udp = socket.socket(family, socket.SOCK_DGRAM)
            tcp = socket.socket(family, socket.SOCK_STREAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                udp.bind((self._host, self.port))
                tcp.bind((self._host, udp.getsockname()[1]))
                break
            except OSError:  # somebody has this number at the moment, for TCP or to ask something
                udp.close()
                tcp.close()
                patience -= 1
                if not patience:
                    raise
                threading.Event().wait(0.01)
        self.port = udp.getsockname()[1]
        tcp.listen(64)
        self._wake, woken = socket.socketpair()
        for one in (udp, tcp, self._wake, woken):
            self._sockets.enter_context(one)
        self._thread = threading.Thread(target=self._run, args=(udp, tcp, woken))
        self._thread.start()

    def hang(self) -> None:
        """Says nothing until `resume`."""
        self._going.clear()

    def resume(self) -> None:
        self._going.set()

    def kill(self) -> None:
        self.resume()
        self._wake.close()
        self._thread.join()
        self._sockets.close()

    def _run(self, udp: socket.socket, tcp: socket.socket, woken: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            for one in (udp, tcp, woken):
                selector.register(one, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                self._going.wait()
                if woken in ready:
                    return
                if udp in ready:
                    wire, self.sender = udp.recvfrom(65535)
                    query = dns.message.from_wire(wire)
                    most = query.payload if query.edns >= 0 else 512
                    for datagram in self.say(self.answer(query), most):
                        udp.sendto(datagram, self.sender)
                if tcp in ready:
                    with tcp.accept()[0] as stream, contextlib.suppress(OSError):
                        stream.settimeout(5)
                        self._converse(stream)

    def _converse(self, stream: socket.socket) -> None:
        length = int.from_bytes(stream.recv(2, socket.MSG_WAITALL), "big")
        query = dns.message.from_wire(stream.recv(length, socket.MSG_WAITALL))
        self.over_tcp += 1
        for message in self.say(self.answer(query), 65535):
            stream.sendall(len(message).to_bytes(2, "big") + message)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        if self.unextended and query.edns >= 0:
            answer.set_rcode(dns.rcode.FORMERR)
            answer.use_edns(False)
            return answer
        [question] = query.question
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        while isinstance(alias := self.zone.get((name, "CNAME")), list):
            answer.answer.append(self._records(name, "CNAME", alias))
            name = alias[0].rstrip(".")
        records = self.zone.get((name, kind), [])
        if isinstance(records, dns.rcode.Rcode):
            answer.set_rcode(records)
        elif records:
            answer.answer.append(self._records(name, kind, records))
            if kind == "SRV":
                answer.additional += [
                    self._records(of, family, addresses) for (family, of), addresses in self._besides(records).items()
                ]
        elif not any(known == name for known, _ in list(self.zone)):  # which others change meanwhile
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer

    def _records(self, name: str, kind: str, texts: Sequence[str]) -> dns.rrset.RRset:
        read = _read(f"{name}.", self.ttl, kind, tuple(texts))
        return dns.rrset.from_rdata_list(read.name, self.ttl, list(read))

    def _besides(self, records: list[str]) -> Mapping[tuple[str, str], list[str]]:
        if self.besides is not None:
            return {(where.split()[0], where.split()[1]): addresses for where, addresses in self.besides.items()}
        targets = dict.fromkeys(record.split()[3].rstrip(".") for record in records)
        return {
            (family, target): addresses
            for target in targets
            for family in ("A", "AAAA")
            if isinstance(addresses := self.zone.get((target, family)), list)
        }
