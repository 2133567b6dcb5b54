"""Paths that can be passed; `test_ingress.py` has the same as calls meet it."""

from collections.abc import Sequence

import pytest

from proxy.paths import AVOID, Origin, Paths
from sdk.selector import Load

from .bench import FakePort
from .chain import A, B, C, far_origin

D = b"d" * 16
LOAD, OTHER_LOAD = Load(), Load()
LINKS = {B: FakePort("b", B), C: FakePort("c", C)}


def way(
    paths: Paths, chosen: Origin, *others: Origin, hops: int = 3, now: float = 0.0, failed: Sequence[FakePort] = ()
) -> tuple[bytes, Load | None] | None:
    target = paths.target(chosen, LOAD, hops, now, others, lambda usable: (usable[0], OTHER_LOAD), failed)
    if target is None:
        return None
    assert target.port is LINKS[target.path[:16]]
    return target.path, target.load


def test_the_first_path_comes_first_and_the_spare_when_it_is_no_good() -> None:
    paths = Paths(LINKS)
    origin = far_origin(B, D, spare=(C, D))
    assert way(paths, origin) == (B + D, LOAD)
    paths.failed_edge(B + D, 0.0)
    assert way(paths, origin) == (C + D, LOAD)
    assert way(paths, origin, failed=[LINKS[C]]) == (B + D, LOAD), "rather a link that failed than a port that is full"
    assert way(paths, origin, now=AVOID) == (B + D, LOAD)
    assert not paths.avoided


def test_another_origin_takes_its_place_where_no_path_is_good() -> None:
    paths = Paths(LINKS)
    assert way(paths, far_origin(A, D), far_origin(C)) == (C, OTHER_LOAD)
    assert way(paths, far_origin(B), far_origin(C), failed=[LINKS[B]]) == (C, OTHER_LOAD)
    assert way(paths, far_origin(B, C, D), far_origin(C, D), far_origin(C), hops=1) == (C, OTHER_LOAD)


@pytest.mark.parametrize("hops", [0, 1])
def test_where_no_path_is_left_there_is_no_target(hops: int) -> None:
    assert way(Paths(LINKS), far_origin(B, D), far_origin(A), hops=hops) is None
