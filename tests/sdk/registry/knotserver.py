"""A real DNS server for tests: Knot on a port of its own, whose zone `example` is changed as RFC 2136 has it."""

import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import dns.query
import dns.rcode
import dns.update

from tests.sdk.registry.dnswriter import WrittenZone, ZoneServer
from tests.sdk.registry.processserver import ProcessServer

CONFIGURATION = """
server:
    rundir: "{folder}"
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stdout
    any: info
database:
    storage: "{folder}"
acl:
  - id: here
    address: 127.0.0.1
    action: update
zone:
  - domain: example.
    storage: "{folder}"
    file: example.zone
    acl: here
    # The journal alone keeps the changes, over a restart as well: to write the file takes longer than the change.
    zonefile-sync: -1
    zonefile-load: whole
"""
ZONE = """
example. 5 SOA ns.example. admin.example. 1 3600 900 86400 5
example. 5 NS ns.example.
ns.example. 5 A 127.0.0.1
"""


class KnotServer(ProcessServer, ZoneServer):
    """Inside its `with` it runs."""

    READY = "server started"

    def __init__(self, program: str, folder: Path) -> None:
        super().__init__()
        self.port = _free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.command = [program, "--config", str(folder / "knot.conf")]
        (folder / "knot.conf").write_text(CONFIGURATION.format(folder=folder, port=self.port))
        (folder / "example.zone").write_text(ZONE)
        self._names: set[str] = set()

    def keep(self, records: Mapping[tuple[str, str], Sequence[str]]) -> None:
        change = dns.update.UpdateMessage("example.")
        for (name, kind), texts in records.items():
            self._names.add(name)
            change.delete(f"{name}.", kind)
            for text in texts:
                change.add(f"{name}.", 5, kind, text)
        self._change(change)

    def wipe(self) -> None:
        change = dns.update.UpdateMessage("example.")
        for name in self._names:
            change.delete(f"{name}.")
        self._change(change)
        self._names.clear()
        self.written = WrittenZone(self.keep)

    def _change(self, change: dns.update.UpdateMessage) -> None:
        answer = dns.query.tcp(change, "127.0.0.1", port=self.port, timeout=30)
        assert answer.rcode() == dns.rcode.NOERROR, answer


def _free_port() -> int:
    """One that is free over TCP and UDP, of those that the kernel gives to nobody who does not ask for them by number.

    Knot shares its port, so that nobody may hold it for the time in which it is killed.
    """
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
