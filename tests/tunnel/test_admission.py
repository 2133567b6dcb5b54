import pytest

from sdk.errors import RemoteProtocolError, Unavailable
from tunnel.admission import (
    MAX_COMPLAINTS,
    MAX_IN_PROGRESS,
    MAX_KNOWN,
    MAX_OF_ONE,
    MAX_OF_STRANGERS,
    MAX_OF_STRANGERS_PER_SECOND,
    MAX_PER_SECOND,
    Admission,
    FromOutside,
    Refusal,
    place_of,
    refusal_of,
)
from tunnel.handshake import NotAdmitted, TokenDiffers
from tunnel.identity import NotSigned
from tunnel.noise import Damaged

FRIEND = "10.0.0.1"


def stranger(number: int) -> str:
    return f"203.0.{number >> 8}.{number & 255}"


def begun(admission: Admission, now: float, *hosts: str) -> list[Refusal | None]:
    """What becomes of one handshake from each of these, all at one time."""
    return [admission.begin(host, now) for host in hosts]


def rate(admission: Admission, now: float, host: str) -> int:
    """How many handshakes may begin at this moment, one after the other."""
    count = 0
    while admission.begin(host, now) is None:
        admission.end(host)
        count += 1
    return count


def test_strangers_have_48_handshakes_in_progress_and_those_who_were_here_before_64() -> None:
    admission = Admission()
    admission.succeeded(FRIEND)
    strangers = list(map(stranger, range(MAX_OF_STRANGERS + 1)))
    assert begun(admission, 1.0, *strangers) == [None] * MAX_OF_STRANGERS + [Refusal.TOO_MANY]
    friends = [FRIEND] * (MAX_IN_PROGRESS - MAX_OF_STRANGERS)
    assert begun(admission, 1.0, *friends) == [None] * len(friends)
    assert admission.in_progress == MAX_IN_PROGRESS
    admission.succeeded("10.0.0.2")
    assert admission.begin("10.0.0.2", 1.0) is Refusal.TOO_MANY
    admission.end(strangers[0])
    assert admission.begin("10.0.0.2", 1.0) is None


def test_strangers_begin_150_in_a_second_and_those_who_were_here_before_the_rest() -> None:
    admission = Admission()
    admission.succeeded(FRIEND)
    assert rate(admission, 100.0, stranger(1)) == MAX_OF_STRANGERS_PER_SECOND
    assert rate(admission, 100.0, stranger(2)) == 0
    assert rate(admission, 100.0, FRIEND) == MAX_PER_SECOND - MAX_OF_STRANGERS_PER_SECOND
    assert rate(admission, 100.0, FRIEND) == 0
    assert rate(admission, 100.5, stranger(1)) == MAX_PER_SECOND // 2 - (MAX_PER_SECOND - MAX_OF_STRANGERS_PER_SECOND)
    assert rate(admission, 200.0, FRIEND) == MAX_PER_SECOND


@pytest.mark.parametrize("known", [False, True])
def test_one_address_has_16_in_progress_and_leaves_room_for_others(known: bool) -> None:
    admission = Admission()
    host = stranger(1)
    if known:
        admission.succeeded(host)
    assert begun(admission, 1.0, *[host] * (MAX_OF_ONE + 1)) == [None] * MAX_OF_ONE + [Refusal.TOO_MANY_OF_ONE]
    assert admission.begin(stranger(2), 1.0) is None
    admission.end(host)
    assert admission.begin(host, 1.0) is None


def test_hosts_in_memory_are_no_strangers_and_no_one_address() -> None:
    admission = Admission()
    assert begun(admission, 1.0, *[""] * (MAX_IN_PROGRESS + 1)) == [None] * MAX_IN_PROGRESS + [Refusal.TOO_MANY]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
    ],
)
def test_an_ipv6_network_of_64_bits_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (place_of(one) == place_of(other)) is same


def test_the_memory_for_addresses_is_bounded_and_forgets_the_oldest() -> None:
    admission = Admission()
    for number in range(3 * MAX_KNOWN):
        admission.succeeded(FRIEND)
        admission.succeeded(stranger(number))
        host = stranger(number + MAX_KNOWN)
        assert admission.begin(host, 0.0) in (None, Refusal.TOO_MANY)
        if admission.in_progress:
            admission.end(host)
    assert len(admission._known) == MAX_KNOWN
    assert FRIEND in admission._known
    assert not admission._of


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (TokenDiffers(), Refusal.WRONG_TOKEN),
        (NotAdmitted("no"), Refusal.NOT_ADMITTED),
        (NotSigned(), Refusal.FALSE_CERTIFICATE),
        (Damaged("no"), Refusal.DAMAGED),
        (FromOutside("no"), Refusal.FROM_OUTSIDE),
        (RemoteProtocolError("no"), Refusal.MALFORMED),
        (Unavailable("gone"), Refusal.BROKE_OFF),
    ],
)
def test_each_failure_is_counted_under_its_own_name(error: Exception, refusal: Refusal) -> None:
    assert refusal_of(error) is refusal


def test_an_equal_complaint_is_made_once_a_minute() -> None:
    admission = Admission()
    assert admission.may_complain("host", "why", 0.0)
    assert not admission.may_complain("host", "why", 59.0)
    assert admission.may_complain("host", "another why", 59.0)
    assert admission.may_complain("another host", "why", 59.0)
    assert admission.may_complain("host", "why", 60.0)


def test_the_memory_for_complaints_is_bounded() -> None:
    admission = Admission()
    for number in range(3 * MAX_COMPLAINTS):
        assert admission.may_complain(f"host {number}", "why", 0.0)
    assert len(admission._complaints) <= MAX_COMPLAINTS
