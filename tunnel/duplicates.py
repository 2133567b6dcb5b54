"""Two links to one peer: which of them stays. Both ends decide alone and come to the same link."""

import enum

from .identity import NodeId


class Verdict(enum.Enum):
    """What becomes of a new link while another one to the same peer exists."""

    REPLACE = enum.auto()
    """The new one stays, the old one drains."""
    REFUSE = enum.auto()
    """The old one stays."""
    PROBE = enum.auto()
    """The old one stays if it answers a PING sent now: the peer may have opened another because it lost this one."""


def judge(*, me: NodeId, peer: NodeId, old_epoch: int, new_epoch: int, old_dialled: bool, new_dialled: bool) -> Verdict:
    """Decides between two links to `peer`; `dialled` tells that `me` opened it.

    A newer epoch wins: the peer has restarted. Of two links by one dialler the newer wins, as the acceptor sees it;
    the dialler itself knows that its first one lives and takes the second for another address of the same peer. Of
    links dialled from both ends the one of the smaller id wins.
    """
    if new_epoch != old_epoch:
        return Verdict.REPLACE if new_epoch > old_epoch else Verdict.REFUSE
    if old_dialled == new_dialled:
        return Verdict.REFUSE if new_dialled else Verdict.REPLACE
    return Verdict.REPLACE if new_dialled == (me < peer) else Verdict.PROBE
