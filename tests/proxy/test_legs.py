import pytest

from proxy.legs import MAX_QUEUED, Target, for_target, leads_over, too_much_waits
from sdk.errors import BadRequest
from sdk.head import DEFAULT, CallHead, pack_call_head
from sdk.wire.frame import MAX_PAYLOAD, NO_DEADLINE, pack_open, split_open_untrusted

from .bench import FakePort
from .chain import A, B, C

HEAD = CallHead("greeter", "Greeter.Hello")


def test_a_path_leads_over_its_links_in_its_own_direction_and_the_first_one_is_known_here() -> None:
    path = A + B + C
    assert [leads_over(path, edge) for edge in (A + B, B + C, B + A, C + B, A + C, A + A)] == [True, True, *[False] * 4]
    assert not leads_over(A, A + B)
    assert not leads_over(path, path[1:33])


def test_an_open_changes_only_in_the_flags_of_its_head() -> None:
    opened = pack_open(3, A, NO_DEADLINE, pack_call_head(HEAD), b"body")
    port = FakePort("b", B)
    assert for_target(opened, Target(port, B, None)) is opened
    changed = split_open_untrusted(for_target(opened, Target(port, B, None, DEFAULT)))
    assert changed == (3, A, NO_DEADLINE, pack_call_head(HEAD._replace(flags=DEFAULT)), b"body")


def test_an_open_that_would_grow_beyond_a_frame_is_refused() -> None:
    head = pack_call_head(HEAD)
    room = MAX_PAYLOAD - len(pack_open(3, B + C, NO_DEADLINE, head, b""))
    target = Target(FakePort("b", B), B + C, None, DEFAULT)
    assert len(for_target(pack_open(3, b"", NO_DEADLINE, head, bytes(room)), target)) == MAX_PAYLOAD - len(B + C)
    with pytest.raises(BadRequest, match="no room for a longer path"):
        for_target(pack_open(3, b"", NO_DEADLINE, head, bytes(room + 1)), target)


def test_a_port_that_is_full_is_named() -> None:
    error = too_much_waits(FakePort("b"))
    assert error.detail == f"b has more than {MAX_QUEUED >> 20} MiB waiting"
    assert not error.may_have_run
