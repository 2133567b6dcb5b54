import itertools

import pytest

from router.gathering import Gathering
from router.servicemap import ServiceMap
from router.services import ServiceRoot
from router.statement import Signed
from router.store import Refusal
from router.wire import Services, parse_statement_untrusted
from sdk.errors import RemoteProtocolError
from tests.router.network import Key, entry, map_of, node_id, signed_root

WHOLE = map_of(*(entry(name) for name in ("x", "y", "z")))
PACKED = [each.packed for each in WHOLE]
SIGNED = signed_root(Key("o"), WHOLE)


def part(gathering: Gathering, *packed: bytes, more: bool, signed: Signed = SIGNED, peer: bytes = b"p") -> object:
    root = parse_statement_untrusted(signed, node_id)
    assert isinstance(root, ServiceRoot)
    told = Services(signed, (0, 0), more, (), packed)
    return gathering.add(peer, root, told, gathering.entries(packed))


def test_a_map_is_there_when_its_last_part_has_come() -> None:
    gathering = Gathering()
    assert part(gathering, PACKED[0], more=True) is None
    assert part(gathering, PACKED[1], more=True) is None
    assert gathering.under_way == 1
    whole = part(gathering, PACKED[2], more=False)
    assert isinstance(whole, ServiceMap)
    assert whole.services == WHOLE.services
    assert gathering.under_way == 0


@pytest.mark.parametrize("cuts", [(1,), (2,), (4,), (1, 2, 3, 4)])
def test_the_versions_of_one_service_may_come_in_several_parts(cuts: tuple[int, ...]) -> None:
    gathering = Gathering()
    versions = map_of(entry("x"), *(entry("y", version) for version in "123"), entry("z"))
    signed = signed_root(Key("o"), versions)
    packed = [each.packed for each in versions]
    for start, stop in itertools.pairwise((0, *cuts)):
        assert part(gathering, *packed[start:stop], more=True, signed=signed) is None
    whole = part(gathering, *packed[cuts[-1] :], more=False, signed=signed)
    assert isinstance(whole, ServiceMap)
    assert whole.services == versions.services


def test_neighbours_do_not_disturb_one_another_and_what_is_dropped_begins_anew() -> None:
    gathering = Gathering()
    part(gathering, PACKED[0], more=True, peer=b"p")
    part(gathering, PACKED[0], PACKED[1], more=True, peer=b"q")
    gathering.drop(b"p")
    gathering.drop(b"p")
    assert isinstance(part(gathering, PACKED[2], more=False, peer=b"q"), ServiceMap)
    assert part(gathering, PACKED[1], PACKED[2], more=False, peer=b"p") is Refusal.BAD_ROOT


def test_another_map_in_between_ends_the_one_that_was_under_way() -> None:
    gathering = Gathering()
    part(gathering, PACKED[0], more=True)
    assert isinstance(part(gathering, *PACKED, more=False, signed=signed_root(Key("r"), WHOLE)), ServiceMap)
    assert part(gathering, PACKED[1], PACKED[2], more=False) is Refusal.BAD_ROOT


def test_more_than_was_signed_is_not_gathered() -> None:
    gathering = Gathering()
    part(gathering, *PACKED, more=True)
    [packed] = [each.packed for each in map_of(entry("more"))]
    assert part(gathering, packed, more=True) is Refusal.TOO_MANY_SERVICES
    assert gathering.under_way == 0


def test_equal_entries_are_one_object_and_bad_ones_are_refused() -> None:
    gathering = Gathering()
    [one], [other] = gathering.entries(PACKED[:1]).values(), gathering.entries([bytes(PACKED[0])]).values()
    assert one[0] is other[0]
    with pytest.raises(RemoteProtocolError):
        gathering.entries([b"\xc0"])
