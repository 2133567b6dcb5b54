"""What lies between two names in memory: a delay, and trouble."""

import math
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import trio

from .rough import SMOOTH, OneWay, Quality

if TYPE_CHECKING:
    from .way import Way


class MemoryLine:
    """What lies between two names: all that is sent over it comes late by its delay, and not at all while it is cut.

    A cut is silent, as when a cable breaks: nobody is told, not even of an end that closes meanwhile; what was sent
    waits, and arrives when the line is healed. A reset is what a restarted firewall does: connections break at once.

    With jitter, loss or a rate the line is rough, see `rough.py`: bytes then leave and arrive as segments, and after a
    cut they go on from where they were.
    """

    def __init__(self, *, seed: str = "") -> None:
        """`seed` decides the luck of all that goes over it while it is rough."""
        self.delay = 0.0
        """Seconds from one end to the other."""
        self.smooth = True
        """Whether nothing is bad about it besides."""
        self._quality = SMOOTH
        self._seed = seed
        self._directions: dict[bool, OneWay] = {}
        self._whole = trio.Event()
        self._whole.set()
        self._severed = 0.0
        self._ways: dict[Way, None] = {}

    @property
    def quality(self) -> Quality:
        """What is bad about it besides."""
        return self._quality

    @quality.setter
    def quality(self, quality: Quality) -> None:
        self._quality, self.smooth = quality, quality == SMOOTH

    @property
    def jitter(self) -> float:
        """Most seconds by which something comes earlier or later than the delay says; order is kept."""
        return self.quality.jitter

    @jitter.setter
    def jitter(self, seconds: float) -> None:
        self.quality = replace(self.quality, jitter=seconds)

    @property
    def loss(self) -> float:
        """Share of the segments that are lost and come a retransmission later, from 0 to less than 1."""
        return self.quality.loss

    @loss.setter
    def loss(self, share: float) -> None:
        self.quality = replace(self.quality, loss=share)

    @property
    def rate(self) -> float:
        """Bytes per second that fit through in each direction."""
        return self.quality.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self.quality = replace(self.quality, rate=rate)

    @property
    def cut(self) -> bool:
        """Whether nothing gets through."""
        return not self._whole.is_set()

    def sever(self) -> None:
        """Cuts it; again it does nothing."""
        if self._whole.is_set():
            self._whole = trio.Event()
            self._severed = trio.current_time()

    def heal(self) -> None:
        """Makes it whole; again it does nothing."""
        if self.cut and not self.smooth:
            self._resume(trio.current_time() - self._severed)
        self._whole.set()
        for way in self._ways:
            way.look()

    def reset(self) -> None:
        """Breaks every connection over it, with what is under way, and both ends know at once."""
        ways, self._ways = self._ways, {}
        for way in ways:
            way.snap()
        for direction in self._directions.values():
            direction.free = -math.inf

    async def wait_whole(self) -> None:
        """Waits until it is whole."""
        await self._whole.wait()

    def seconds_to_connect(self) -> float:
        """How long it takes until a connection over it stands."""
        if self.smooth:
            return 2 * self.delay
        return self.direction(forward=True).connect(delay=self.delay, quality=self.quality)

    def now(self) -> float:
        """The time of what goes over it while it is rough: it stands still while the line is cut."""
        return self._severed if self.cut else trio.current_time()

    def direction(self, *, forward: bool) -> OneWay:
        """One of its two directions."""
        if forward not in self._directions:
            self._directions[forward] = OneWay(Random(f"{self._seed} {forward}"))
        return self._directions[forward]

    def carry(self, way: "Way") -> None:
        """Tells this direction of a connection when something happens, until `drop`."""
        self._ways[way] = None

    def drop(self, way: "Way") -> None:
        """It is over."""
        self._ways.pop(way, None)

    def _resume(self, seconds: float) -> None:
        """What had not arrived at the cut comes later by the time the cut took."""
        for way in self._ways:
            way.put_off(self._severed, seconds)
        for direction in self._directions.values():
            direction.free += seconds
