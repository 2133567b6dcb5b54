"""Virtual time: an event heap, and nothing else that could make two runs of one seed differ."""

import hashlib
import heapq
import itertools
from collections.abc import Callable
from random import Random

Action = Callable[[], None]


class Engine:
    """The clock, the dice, and what is to happen when."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.events = 0
        self.lines: list[str] = []
        """What happened, for a person; kept only when asked for."""
        self._trace = trace
        self._digest = hashlib.sha256()
        self._heap: list[tuple[float, int, str, Action]] = []
        self._count = itertools.count()

    def at(self, time: float, what: str, action: Action) -> None:
        """Something happens at this time, after all that was planned for it before."""
        heapq.heappush(self._heap, (max(time, self.now), next(self._count), what, action))

    def after(self, seconds: float, what: str, action: Action) -> None:
        self.at(self.now + seconds, what, action)

    def run(self, until: float) -> None:
        heap, digest = self._heap, self._digest
        while heap and heap[0][0] <= until:
            time, _, what, action = heapq.heappop(heap)
            self.now = time
            self.events += 1
            digest.update(f"{time:.9f} {what}\n".encode())
            action()
        self.now = until

    def note(self, text: str) -> None:
        """Something worth telling: a part of the run's fingerprint as well."""
        self._digest.update(text.encode())
        if self._trace:
            self.lines.append(f"{self.now:9.4f} {text}")

    @property
    def fingerprint(self) -> str:
        """Equal for two runs in which the same happened at the same times."""
        return self._digest.hexdigest()
