"""A long and lossy line between two hosts: two TUN devices, and a loop that delays and drops the packets between them.

    python -m tests.longline HOST OTHER       (names of network namespaces; their ends of the line are called `cable`)

`tc qdisc … netem` would do the same where the kernel has it, but many of those in small virtual machines have not; so
it is the same line everywhere, and the same packets of a sequence are lost each time. On SIGTERM it says how many
packets it was given and how many it lost. It takes root.
"""

import fcntl
import os
import select
import signal
import struct
import sys
from collections import deque
from random import Random
from time import monotonic

from tests.namespaces import ip

DELAY = 0.02
"""Seconds that a packet takes: 40 ms there and back."""

LOSS = 0.005
"""Share of the packets that is lost each way: a hundredth there and back."""

TUNSETIFF = 0x400454CA
PACKETS_ONLY = 0x0001 | 0x1000  # IFF_TUN, IFF_NO_PI
PACKET = 2048
"""No packet is longer: the devices take 1,500 bytes."""


def lay(names: tuple[str, str]) -> tuple[int, int]:
    """Gives each host its end, with the address 10.11.12.1 or .2; the files to which packets go out and come from."""
    files = []
    for number, name in enumerate(names, 1):
        file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        device = f"line{os.getpid()}-{number}"[:15]
        fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", device.encode(), PACKETS_ONLY))
        ip("link", "set", device, "netns", name)
        ip("-n", name, "link", "set", device, "name", "cable")
        ip("-n", name, "address", "add", f"10.11.12.{number}", "peer", f"10.11.12.{3 - number}", "dev", "cable")
        ip("-n", name, "link", "set", "cable", "up")
        files.append(file)
    return files[0], files[1]


class Line:
    """What is on its way, each way."""

    def __init__(self, files: tuple[int, int]) -> None:
        self.carried = 0
        """Packets that were given to it."""
        self.lost = 0
        """Those of them that it lost."""
        self._files = files
        self._flying: tuple[deque[tuple[float, bytes]], ...] = (deque(), deque())
        self._random = Random(1)

    def turn(self) -> None:
        """Waits for a packet to come, or for one to have arrived."""
        due = min((flying[0][0] for flying in self._flying if flying), default=None)
        ready, _, _ = select.select(self._files, (), (), None if due is None else max(0.0, due - monotonic()))
        now = monotonic()
        for file, far, flying in zip(self._files, reversed(self._files), self._flying, strict=True):
            if file in ready:
                self._take(file, now, flying)
            while flying and flying[0][0] <= now:
                os.write(far, flying.popleft()[1])

    def _take(self, file: int, now: float, flying: deque[tuple[float, bytes]]) -> None:
        try:
            while packet := os.read(file, PACKET):
                self.carried += 1
                if self._random.random() < LOSS:
                    self.lost += 1
                else:
                    flying.append((now + DELAY, packet))
        except BlockingIOError:
            pass


def main() -> None:
    """Runs until SIGTERM."""
    line = Line(lay((sys.argv[1], sys.argv[2])))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _say("ready line")
    try:
        while True:
            line.turn()
    except KeyboardInterrupt:
        _say(f"carried={line.carried} lost={line.lost}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
