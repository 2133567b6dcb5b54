import pytest

from mesh.check import Check, Kind, parse_check
from sdk.errors import BadRequest
from sdk.types import Instance


def check(said: str, **more: str) -> Check | None:
    metadata = {"check": said, **{f"check-{name}": value for name, value in more.items()}}
    return parse_check(Instance(id="1", address="10.0.0.1:80", metadata=metadata))


def test_a_record_that_asks_for_nothing_is_not_checked() -> None:
    assert parse_check(Instance(id="1", address="h:1", metadata={"check-interval": "5s"})) is None


@pytest.mark.parametrize(
    ("said", "kind", "where"),
    [
        ("tcp", Kind.TCP, "tcp://10.0.0.1:80"),
        ("grpc", Kind.GRPC, "grpc://10.0.0.1:80"),
        ("/health?x=1", Kind.HTTP, "http://10.0.0.1:80/health?x=1"),
        ("http://10.0.0.1:9000/health?x=1", Kind.HTTP, "http://10.0.0.1:9000/health?x=1"),
        ("http://10.0.0.1", Kind.HTTP, "http://10.0.0.1:80/"),
        ("https://10.0.0.1/health", Kind.HTTPS, "https://10.0.0.1:443/health"),
        ("https://10.0.0.1:80", Kind.HTTPS, "https://10.0.0.1:80/"),
    ],
)
def test_what_is_tried_and_where(said: str, kind: Kind, where: str) -> None:
    found = check(said)
    assert found is not None
    assert (found.kind, str(found)) == (kind, where)


def test_an_address_of_ipv6_stays_in_brackets() -> None:
    found = parse_check(Instance(id="1", address="[::1]:80", metadata={"check": "http://[::1]:81/x"}))
    assert found is not None
    assert found.address == "[::1]:81"


def test_times_and_thresholds_have_defaults_and_may_be_said() -> None:
    usual, own = check("tcp"), check("tcp", interval="5s", timeout="500ms", failures="1", successes="4")
    assert usual is not None
    assert own is not None
    assert (usual.interval, usual.timeout, usual.failures, usual.successes) == (10.0, 2.0, 3, 2)
    assert (own.interval, own.timeout, own.failures, own.successes) == (5.0, 0.5, 1, 4)


@pytest.mark.parametrize(
    ("said", "more", "says"),
    [
        ("udp", {}, "it takes tcp, grpc"),
        ("wss://10.0.0.1/", {}, "it takes tcp, grpc"),
        ("http://a:b@10.0.0.1/", {}, "a URL with a user: it takes tcp, grpc"),
        ("http://10.0.0.1:x/", {}, "no URL"),
        ("http://10.0.0.2/", {}, "another host than that of the instance"),
        ("https://10.0.0.1.example/", {}, "another host than that of the instance"),
        ("/a b", {}, "no path"),
        ("/a\r\nX: y", {}, "no path"),
        ("/é", {}, "no path"),
        ("/" + "x" * 2000, {}, "longer than 1024"),
        ("tcp", {"interval": "10ms"}, "check-interval is from 1 s"),
        ("tcp", {"interval": "1s", "timeout": "2s"}, "no shorter than check-timeout"),
        ("tcp", {"interval": "1h", "timeout": "31s"}, "check-timeout is 30 s at most"),
        ("tcp", {"interval": "soon"}, "check-interval: 'soon'"),
        ("tcp", {"failures": "0"}, "from 1 to 100"),
        ("tcp", {"successes": "101"}, "from 1 to 100"),
        ("tcp", {"failures": "-1"}, "check-failures: "),
    ],
)
def test_what_makes_no_sense_is_refused(said: str, more: dict[str, str], says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        check(said, **more)
