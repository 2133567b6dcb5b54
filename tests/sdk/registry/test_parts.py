from sdk.registry import parts
from sdk.registry.parts import Parts


def test_the_last_word_of_a_part_counts_until_it_is_dropped() -> None:
    kept = Parts()
    kept.keep("1", b"a")
    kept.keep("1", b"b")
    assert "1" in kept
    assert kept["1"] == b"b"
    kept.drop("1")
    kept.drop("1")
    assert "1" not in kept


def test_the_oldest_give_way_and_what_came_again_is_no_longer_old() -> None:
    kept, half = Parts(), b"x" * (parts.MAX_BYTES // 2)
    kept.keep("1", half)
    kept.keep("2", half)
    kept.keep("1", half)
    kept.keep("3", b"x")
    assert "2" not in kept
    assert "1" in kept
    assert "3" in kept
