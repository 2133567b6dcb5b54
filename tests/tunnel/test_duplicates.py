from hypothesis import given
from hypothesis import strategies as st

from tunnel.duplicates import Verdict, judge

SMALL, LARGE = b"a" * 16, b"b" * 16


def verdict(me: bytes, *, old: tuple[int, bool], new: tuple[int, bool]) -> Verdict:
    """`old` and `new` are (epoch of the peer, whether we dialled)."""
    peer = LARGE if me == SMALL else SMALL
    return judge(
        me=me, peer=peer, old_epoch=old[0], new_epoch=new[0], old_dialled=old[1], new_dialled=new[1]
    )  # fmt: skip


@given(st.sampled_from([SMALL, LARGE]), st.booleans(), st.booleans())
def test_the_newer_epoch_wins_whoever_dialled(me: bytes, old: bool, new: bool) -> None:
    assert verdict(me, old=(1, old), new=(2, new)) is Verdict.REPLACE
    assert verdict(me, old=(2, old), new=(1, new)) is Verdict.REFUSE


@given(st.sampled_from([SMALL, LARGE]))
def test_of_two_links_by_one_dialler_the_acceptor_keeps_the_newer_and_the_dialler_opens_no_second(me: bytes) -> None:
    assert verdict(me, old=(1, False), new=(1, False)) is Verdict.REPLACE
    assert verdict(me, old=(1, True), new=(1, True)) is Verdict.REFUSE


def test_of_links_from_both_ends_the_one_of_the_smaller_id_stays_at_both_ends() -> None:
    # SMALL sees its own dialling arrive second, LARGE sees it as accepted second: both take it.
    assert verdict(SMALL, old=(1, False), new=(1, True)) is Verdict.REPLACE
    assert verdict(LARGE, old=(1, True), new=(1, False)) is Verdict.REPLACE
    # In the other order it is there already, and stays if it lives.
    assert verdict(SMALL, old=(1, True), new=(1, False)) is Verdict.PROBE
    assert verdict(LARGE, old=(1, False), new=(1, True)) is Verdict.PROBE
