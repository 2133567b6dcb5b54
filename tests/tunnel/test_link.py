"""A link as the rest of the node knows it."""

from tests.tunnel.bench import KEYS
from tests.tunnel.test_linkport import carry, meet, pair


def test_a_link_tells_who_is_there() -> None:
    a, b = pair()
    meet(a, b)
    assert (a.link.peer, a.link.epoch) == (KEYS[1].id, 1)
    assert (a.link.name, a.link.addresses, a.link.dialled) == ("n1", (), True)
    assert repr(a.link) == "<Link to n1 at mem://somewhere>"
    assert a.link.statistics().state == "up"
    a.port.go_away()
    carry(a, b)
    assert a.link.statistics().state == b.link.statistics().state == "draining"
