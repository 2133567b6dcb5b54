from router.statement import Statement, Version, to_sign


def test_the_later_life_is_newer_then_the_later_statement_then_the_greater_mark() -> None:
    versions = [Version(1, 9, b"z"), Version(2, 1, b"z"), Version(2, 2, b"a"), Version(2, 2, b"b")]
    shuffled = [versions[number] for number in (2, 0, 3, 1)]
    assert sorted(shuffled) == versions


def test_a_statement_knows_its_version() -> None:
    statement = Statement(network="n", origin=bytes(16), public=bytes(32), epoch=3, seq=4, mark=b"mark")
    assert statement.version == (3, 4, b"mark")


def test_what_is_signed_says_that_it_is_gossip() -> None:
    assert to_sign(b"statement") != b"statement"
    assert b"gossip" in to_sign(b"statement")
