"""Other ways to choose among equals than the one of `selector`: by chance, in turn, by fewest calls, or by a key.

A strategy is a function of what is known of each target, and `selector.choose` is the one that is used where none is
given. All of them pass over targets that are ejected, and try those whose time is over.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from random import Random

from .selector import EJECT_AFTER, Load, choose, eligible

Strategy = Callable[[Sequence[Load], Random, float], int]
"""The index of the target that takes the next call, of at least one; the last argument is the time, in seconds."""

balanced: Strategy = choose
"""The default: of two at random the one that costs less."""


def uniform(loads: Sequence[Load], random: Random, now: float) -> int:
    """Any of them, each as likely as the others."""
    return _taken(loads, random.choice(_candidates(loads, now)), now)


def round_robin(loads: Sequence[Load], random: Random, now: float) -> int:
    """Each in its turn: the one that was chosen longest ago.

    The turn is kept with the targets and not in a counter, so that all calls of a client share it, and targets that
    come, go or are filtered out move nobody else's turn. A new one waits for no turn.
    """
    chosen = min(_candidates(loads, now), key=lambda index: loads[index].turn)
    loads[chosen].turn = 1 + max(load.turn for load in loads)
    return _taken(loads, chosen, now)


def least_loaded(loads: Sequence[Load], random: Random, now: float) -> int:
    """The one with the fewest calls under way for its weight; of several such, any."""
    candidates = list(_candidates(loads, now))
    random.shuffle(candidates)
    chosen = min(candidates, key=lambda index: loads[index].pending / loads[index].weight)
    return _taken(loads, chosen, now)


def sticky(key: str, names: Sequence[str], loads: Sequence[Load], now: float) -> int:
    """The one that this key always goes to, as long as it is there; `names` tell the targets apart.

    Rendezvous hashing (Thaler & Ravishankar, 1998): each target draws a number from the key and its own name, the
    highest wins. When a target goes, only its own keys move, and they spread over all others; every client that knows
    the same names finds the same one, without a word between them.
    """
    prefix = blake2b(key.encode(errors="surrogatepass"), digest_size=8)

    def drawn(index: int) -> bytes:
        draw = prefix.copy()
        draw.update(b"\0" + names[index].encode())
        return draw.digest()

    return _taken(loads, max(_candidates(loads, now), key=drawn), now)


def _candidates(loads: Sequence[Load], now: float) -> Sequence[int]:
    """The indices of those that may be chosen."""
    for load in loads:
        if load.failures >= EJECT_AFTER:
            return eligible(loads, now)
    return range(len(loads))


def _taken(loads: Sequence[Load], chosen: int, now: float) -> int:
    """The one that was chosen, which knows of it if the call tries whether it is back."""
    if loads[chosen].failures >= EJECT_AFTER:
        loads[chosen].probe(now)
    return chosen
