"""Two hosts in network namespaces, joined by a cable that can be cut. For tests marked `peers`: it takes root.

The addresses are documentation's (RFC 5737, public as far as a node is concerned) and private ones: 203.0.113.1 and
10.11.12.1 of the first host, .2 of the second.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

CABLE = "cable"
"""What the cable's end is called on each host."""

CUT = """
table inet cut {
  chain in {
    type filter hook input priority 0
    iifname "cable" drop
  }
}
"""


def ip(*words: str) -> None:
    """`ip`, which must not fail."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def joined() -> Iterator[tuple[str, str]]:
    """The names of the two namespaces; they and the cable are gone afterwards."""
    with apart() as names:
        here, there = names
        ip("-n", here, "link", "add", CABLE, "type", "veth", "peer", "name", CABLE, "netns", there)
        for number, name in enumerate(names, 1):
            ip("-n", name, "address", "add", f"203.0.113.{number}/24", "dev", CABLE)
            ip("-n", name, "address", "add", f"10.11.12.{number}/24", "dev", CABLE)
            ip("-n", name, "link", "set", CABLE, "up")
        yield names


@contextmanager
def apart() -> Iterator[tuple[str, str]]:
    """The names of two namespaces that nothing joins yet; they are gone afterwards, with whatever was put into them."""
    names = f"micro-{os.getpid()}-a", f"micro-{os.getpid()}-b"
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def cut(*names: str) -> None:
    """What comes over the cable to these hosts is dropped, and nobody is told: their ends of it stay up."""
    for name in names:
        subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=CUT, text=True, check=True)


def heal(*names: str) -> None:
    """It is not dropped any more."""
    for name in names:
        ip("netns", "exec", name, "nft", "delete table inet cut")


def shape(name: str, *, mbit: float, buffer_ms: float) -> str:
    """The cable carries so much a second from this host on; what would wait longer for it is dropped. Returns how the
    system describes that."""
    tc = ["tc", "-n", name, "qdisc"]
    words = f"root tbf rate {mbit}mbit burst 10k latency {buffer_ms}ms".split()
    subprocess.run([*tc, "replace", "dev", CABLE, *words], check=True, capture_output=True)
    shown = subprocess.run([*tc, "show", "dev", CABLE], check=True, capture_output=True, text=True)
    return shown.stdout.strip()
