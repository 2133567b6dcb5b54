import pytest

from mesh.resolver.choice import Choice, Kind, check_srv_name, is_looked_up, is_srv_name, parse_resolver, shown
from sdk.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("registry", Choice(kind=Kind.REGISTRY)),
        ("static", Choice(kind=Kind.STATIC)),
        ("dns", Choice(kind=Kind.DNS)),
        ("dns://10.0.0.53", Choice(kind=Kind.DNS, server="10.0.0.53:53")),
        ("dns://[::1]:5353", Choice(kind=Kind.DNS, server="[::1]:5353")),
        ("http://a.example/nodes?x=1", Choice(kind=Kind.HTTP, url="http://a.example/nodes?x=1")),
        ("https://u:p@a.example", Choice(kind=Kind.HTTP, url="https://u:p@a.example")),
    ],
)
def test_each_way_to_find_nodes_is_understood(text: str, choice: Choice) -> None:
    assert parse_resolver(text) == choice


@pytest.mark.parametrize(
    "text",
    ["", "oracle", "DNS", "dns:53", "dns://", "dns://ns.example", "dns://10.0.0.53:0", "dns://10.0.0.53:99999",
     "dns://10.0.0.53/zone", "dns://u@10.0.0.53", "http://", "https://:8080/", "http://a.example:0/",
     "http://a example/", "http://a.example/\n", "ftp://a.example/", "http://a.example:port/", "http://[::1/"],
)  # fmt: skip
def test_a_way_that_is_none_is_refused_naming_flag_and_variable(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^--resolver \(MICRO_NETWORK_RESOLVER\) "):
        parse_resolver(text)


@pytest.mark.parametrize(
    "text",
    ["htps://john:sesame@a.example", "https://john:sesame@a.example:port/", "https://john:9sesame/x@a.example",
     "https://john:12/sesame@a.example", "https://john:sesame @a.example", "dns://john:sesame@10.0.0.53"],
)  # fmt: skip
def test_a_password_is_in_no_error(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_resolver(text)
    assert "sesame" not in str(caught.value)
    assert "sesame" not in repr(Choice(kind=Kind.HTTP, url=text))


def test_a_url_is_shown_without_password_and_query() -> None:
    assert shown("https://john:sesame@a.example:8443/nodes?key=sesame#sesame") == "https://a.example:8443/nodes"
    assert shown("http://john@[::1]/") == "http://[::1]/"
    assert shown("http://[::1]:80") == "http://[::1]:80"


@pytest.mark.parametrize(
    ("node", "looked_up"),
    [("a.example:8085", True), ("a.example", True), ("_micro._tcp.a.example", True), ("10.0.0.1:8085", False),
     ("[::1]:8085", False), ("[fe80::1%eth0]:8085", False), ("ws://a.example:8085/x", False), ("mem://a", False)],
)  # fmt: skip
def test_names_are_looked_up_and_addresses_are_not(node: str, looked_up: bool) -> None:
    assert is_looked_up(node) == looked_up


def test_what_has_no_port_or_begins_with_an_underscore_is_a_name_of_srv_records() -> None:
    assert all(map(is_srv_name, ("a", "_a._tcp.b", "_a:1")))
    assert not any(map(is_srv_name, ("a:1", "a_:1")))


@pytest.mark.parametrize("name", ["a", "a.example.", "_micro._tcp.a-b.example", "x" * 63 + ".y"])
def test_a_name_that_dns_may_know_is_taken(name: str) -> None:
    check_srv_name(name, "--nodes")


@pytest.mark.parametrize("name", ["", ".", "a..b", "-a", "a-", "a b", "_a:1", "ä.example", "x" * 64, "a/b", "a." * 128])
def test_a_name_that_dns_cannot_know_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match=r"^--nodes has "):
        check_srv_name(name, "--nodes")
