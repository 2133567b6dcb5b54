from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from mesh.resolver.srv import Server, in_order

SERVERS = st.builds(
    Server, st.integers(0, 3), st.integers(0, 65535), st.integers(0, 2), st.sampled_from(("", "a", "b", "c"))
)


@given(st.lists(SERVERS, max_size=12), st.integers())
def test_every_server_comes_once_and_a_lower_priority_before_a_higher(records: list[Server], seed: int) -> None:
    ordered = in_order(records, Random(seed))
    best: dict[tuple[str, int], int] = {}
    for record in sorted(records):
        if record.target and record.port:
            best.setdefault((record.target, record.port), record.priority)
    assert sorted(ordered) == sorted(best)
    priorities = [best[server] for server in ordered]
    assert priorities == sorted(priorities)


def test_of_equal_priority_the_first_is_drawn_by_weight() -> None:
    records = [Server(1, weight, 80, name) for name, weight in (("never", 0), ("seldom", 10), ("often", 30))]
    random = Random(1)
    first = Counter(in_order(records, random)[0][0] for _ in range(4000))
    assert 2.5 < first["often"] / first["seldom"] < 3.5
    assert 0 < first["never"] < 400  # RFC 2782: a very small chance of being selected


def test_a_record_that_says_there_is_no_service_is_no_server() -> None:
    assert in_order([Server(0, 0, 0, "")], Random(1)) == []
