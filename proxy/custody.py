"""Another try for a call that failed, and what is kept of its request for that.

A node has custody of the calls that programs opened at it: it alone sends them again, over another path or to another
origin. The node at the end of a path only goes to another of its instances, when the first one was not reached. All
others pass on what they hear.
"""

import math
from collections.abc import Callable
from typing import Protocol

from sdk.errors import MicroError, RemoteProtocolError, Unavailable
from sdk.port import Port
from sdk.wire import frame
from sdk.wire.frame import (
    CREDIT,
    DATA,
    END,
    HEAD,
    ID_SIZE,
    INITIAL_CREDIT,
    MAX_HOPS,
    NO_DEADLINE,
    OPEN,
    STOP,
    TRAILERS,
    Fate,
    Reset,
)
from sdk.wire.mux import CHUNK

from .legs import MAX_QUEUED, SWEEP, Chooser, FirstChooser, Leg, Target, for_target, leads_over
from .retry import MAX_KEPT_TOGETHER, MAX_TRIES, Budget, Kept, is_worth_while, may_run_twice


class Choosers(Protocol):
    """Where calls may go: the switch."""

    ingress: FirstChooser
    egress: Chooser


class Custody:
    """The requests that a node keeps, and their further tries."""

    def __init__(self, choosers: Choosers, budget: Budget, *, me: bytes, close: Callable[[Leg], None]) -> None:
        """`me` is the node's id, and `close` ends a pair of legs. The switch puts the OPEN of each call into its leg,
        and counts it in `budget`."""
        self._budget = budget
        self._close = close
        self._choosers = choosers
        self._me = me

    # What is kept.

    def add(self, there: Leg, kind: int, flags: int, payload: bytes) -> bool:
        """Keeps one more frame of a request; whether it goes no further now."""
        if kind == HEAD:
            raise RemoteProtocolError(
                f"{there.back.port.name} sent a head on stream {there.back.stream}, a call of its own"
            )
        if flags & TRAILERS and not flags & END:
            return False
        kept, budget = _kept(there), self._budget
        if budget.held + len(payload) > MAX_KEPT_TOGETHER and not kept.replaying:
            self.let_go(there)
            return False
        budget.held += len(payload)
        if flags & TRAILERS:
            kept.trailers = payload
        else:
            kept.body += payload
        if kept.replaying:
            there.ended = flags & END != 0
            return True
        if kept.owed and not there.window and not flags & END:
            there.port.send(kind, flags, there.stream, payload)
            self.let_go(there)
            return True
        return False

    def withholds(self, there: Leg, granted: int) -> bool:
        """Whether this credit is withheld from a caller whose request is kept.

        The next callee will have given the first credit only, and so much can be kept. So the caller gets more when it
        has used that up: it costs it one round trip to this node, and its request is kept no longer. A caller that is
        another node would pay a long one; but then whoever grants credit here was reached.
        """
        if there.back.port.peer:
            self.let_go(there)
            return False
        kept = _kept(there)
        kept.owed += granted
        if there.window + kept.owed > frame.MAX_CREDIT:
            raise RemoteProtocolError(f"{there.port.name} granted more than {frame.MAX_CREDIT} bytes on one stream")
        if not there.window and not there.ended:
            self.let_go(there)
        return True

    def let_go(self, there: Leg) -> None:
        """The call is not tried again: what was kept of it is dropped, and its caller gets the credit it is owed."""
        kept = there.kept
        if isinstance(kept, Kept) and kept.replaying:
            kept.settled = True
            return
        self.forget(there)
        there.settled = True
        if isinstance(kept, Kept) and kept.owed and not there.ended:
            there.window += kept.owed
            there.back.port.send(CREDIT, 0, there.back.stream, frame.pack_u32(kept.owed))

    def forget(self, there: Leg) -> None:
        """The call is over: what was kept of it is dropped."""
        kept, there.kept = there.kept, None
        if kept is not None:
            self._budget.held -= kept.size if isinstance(kept, Kept) else len(kept)

    # What is sent again.

    def again(self, here: Leg, reset: Reset, now: float) -> bool:
        """Sends a call that ended so to somebody else, or another way, where that is safe and there is one; whether it
        did."""
        there, caller = here.back, here.port
        kept = _kept(there)
        if reset.fate != Fate.NOT_REACHED:
            kept.may_have_run = True
        if (
            caller.dead
            or there.deadline - now <= SWEEP
            or not is_worth_while(reset, over_link=bool(there.port.peer))
            or (kept.may_have_run and (caller.peer or not may_run_twice(kept.head)))
        ):
            return False
        load, there.load = there.load, None
        if load is not None:
            load.abandoned()
        if load is None or reset.edge[:ID_SIZE] == self._me:
            kept.failed.append(there.port)
        elif not (reset.edge and leads_over(there.path, reset.edge)):
            kept.failed.append(load)
        other = self.another(kept, caller, now)
        if other is None:
            return False
        del there.port.streams[there.stream]
        (far, path, load, _), number, sent = other
        there.port, there.stream, there.path, there.opened, there.tries = far, number, path, now, kept.tries
        if load is not None:
            there.load = load
            load.started()
        far.streams[number] = here
        ms = NO_DEADLINE if there.deadline == math.inf else int((there.deadline - SWEEP - now) * 1000)
        hops, _, path_end, _ = frame.open_layout_untrusted(kept.opened)
        self._replay(there, kept, frame.reroute_open(sent, MAX_HOPS - 1 if path else hops, path, ms, path_end))
        return True

    def another(self, kept: Kept, caller: Port, now: float) -> tuple[Target, int, bytes] | None:
        """Where a call that failed goes next: a target that takes it, as a stream of this number, and its OPEN but for
        the path; None when there is nobody, when it was tried often enough, or when the budget is used up."""
        while kept.tries < MAX_TRIES:
            try:
                if caller.peer:
                    target = self._choosers.egress.again(kept.head, now, kept.failed)
                else:
                    target = self._choosers.ingress.again(kept.head, now, kept.failed, caller.trusted)
                sent = for_target(kept.opened, target)
            except MicroError:
                return None
            if not self._budget.spend(now):
                return None
            kept.tries += 1
            try:
                if target.port.ahead() <= MAX_QUEUED:
                    return target, target.port.next_stream(), sent
            except Unavailable:
                pass
            self.refused(kept, target, now)
        return None

    def refused(self, kept: Kept, target: Target, now: float) -> None:
        """The port of this target takes no call now."""
        if target.load is not None:
            target.load.observe(now, ok=False, began=now)
        kept.failed.append(target.port if target.path or target.load is None else target.load)

    def last_word(self, there: Leg, reset: Reset, payload: bytes) -> bytes:
        """What a caller hears of a call that is not tried again: how the last try ended, and that another one may have
        run, if so."""
        kept = there.kept
        if isinstance(kept, Kept) and kept.may_have_run and reset.fate == Fate.NOT_REACHED:
            return frame.pack_reset(reset._replace(fate=Fate.MAY_HAVE_RUN))
        return payload

    def _replay(self, there: Leg, kept: Kept, opened: bytes) -> None:
        """Sends what came of a request so far. The next callee gives the first credit, and no more was kept; what the
        caller has granted for the answer beyond that, it is told.

        A port may answer within `send`, and its caller go on in turn: what that sends is kept, and follows in order."""
        far, number, tries, granted = there.port, there.stream, kept.tries, there.back.window - INITIAL_CREDIT
        kept.replaying, kept.owed = True, 0
        alone = there.ended and not kept.body and kept.trailers is None
        far.send(OPEN, END if alone else 0, number, opened)
        if granted:
            far.send(CREDIT, 0, number, frame.pack_u32(granted))
        if there.stopped:
            far.send(STOP, 0, number, b"")
        sent = 0
        while sent < len(kept.body) and kept.tries == tries:
            piece = bytes(kept.body[sent : sent + CHUNK])
            sent += len(piece)
            last = there.ended and sent == len(kept.body) and kept.trailers is None
            far.send(DATA, END if last else 0, number, piece)
        if kept.tries != tries:
            return  # it has failed meanwhile, and whoever heard of that has done what there was to do
        if kept.trailers is not None:
            far.send(DATA, END | TRAILERS, number, kept.trailers)
        kept.replaying = False
        if there.ended and there.back.ended:
            self._close(there)
        elif there.kept is kept and (kept.settled or (kept.owed and not there.window and not there.ended)):
            self.let_go(there)


def _kept(there: Leg) -> Kept:
    """What is kept of a call, which is."""
    kept = there.kept
    if not isinstance(kept, Kept):
        kept = there.kept = Kept(kept or b"")
    return kept
