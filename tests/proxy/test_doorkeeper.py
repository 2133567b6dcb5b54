import pytest

from proxy.doorkeeper import MISSING, WRONG, Doorkeeper

SECRET, NEW = b"a secret", b"\xffa new one"
LOCAL, PRIVATE, PUBLIC = ("127.0.0.1", "::1"), ("10.1.2.3", "fd00::1", "::ffff:192.168.1.1"), ("8.8.8.8", "2001:db8::1")


def verdict(keeper: Doorkeeper, host: str, shown: bytes = b"") -> str:
    """What becomes of a program: `out`, `in` or `trusted`."""
    assert not (keeper.turns_away(host) and not keeper.objection(host, shown))
    return "out" if keeper.objection(host, shown) else "trusted" if keeper.trusts(host, shown) else "in"


def test_without_a_token_private_programs_are_let_in_and_those_of_this_host_trusted() -> None:
    keeper = Doorkeeper()
    for shown in (b"", SECRET):
        assert {verdict(keeper, host, shown) for host in LOCAL} == {"trusted"}
        assert {verdict(keeper, host, shown) for host in PRIVATE} == {"in"}
        assert {verdict(keeper, host, shown) for host in PUBLIC} == {"out"}
    assert [keeper.turns_away(host) for host in (*LOCAL, *PRIVATE, *PUBLIC)] == [False] * 5 + [True] * 2


def test_with_a_token_programs_of_other_hosts_show_it() -> None:
    keeper = Doorkeeper((SECRET, NEW))
    for shown, elsewhere in ((b"", "out"), (b"guess", "out"), (SECRET, "trusted"), (NEW, "trusted")):
        assert {verdict(keeper, host, shown) for host in LOCAL} == {"trusted"}
        assert {verdict(keeper, host, shown) for host in (*PRIVATE, *PUBLIC)} == {elsewhere}
    assert not any(keeper.turns_away(host) for host in (*LOCAL, *PRIVATE, *PUBLIC))


def test_when_tokens_are_replaced_only_the_new_ones_count() -> None:
    keeper = Doorkeeper((SECRET,))
    keeper.replace((NEW,))
    assert [verdict(keeper, "10.0.0.1", shown) for shown in (SECRET, NEW)] == ["out", "trusted"]


def test_an_objection_says_whether_a_token_is_missing_or_wrong_and_where_to_set_it() -> None:
    keeper = Doorkeeper((SECRET,))
    assert keeper.objection("10.0.0.1", b"") == MISSING
    assert keeper.objection("10.0.0.1", b"guess") == WRONG
    assert "MICRO_PROXY_TOKEN" in MISSING
    assert "MICRO_PROXY_TOKEN" in WRONG


@pytest.mark.parametrize("shown", [b"a secre", b"a secret ", b"A secret", b"\x00"])
def test_what_is_nearly_a_token_is_none(shown: bytes) -> None:
    assert verdict(Doorkeeper((SECRET,)), "10.0.0.1", shown) == "out"


def test_a_doorkeeper_does_not_show_its_tokens() -> None:
    assert repr(Doorkeeper((SECRET, NEW))) == "<Doorkeeper with 2 tokens>"
