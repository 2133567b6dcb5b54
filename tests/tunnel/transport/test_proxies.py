import pytest

from sdk.errors import BadRequest
from tunnel.transport.proxies import HttpProxy, Proxies, choose_proxies, parse_proxy

PROXY = HttpProxy(address="proxy.example:3128")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://proxy.example:3128", "proxy.example:3128"),
        ("HTTP://proxy.example:3128/", "proxy.example:3128"),
        ("proxy.example:3128", "proxy.example:3128"),
        ("proxy.example", "proxy.example:80"),
        (" http://10.0.0.1:1 ", "10.0.0.1:1"),
        ("http://[::1]:3128/", "[::1]:3128"),
        ("http://[::1]", "[::1]:80"),
    ],
)
def test_a_proxy_is_an_url_or_host_and_port(url: str, address: str) -> None:
    assert parse_proxy(url, "--via") == HttpProxy(address=address)


@pytest.mark.parametrize(
    ("login", "authorization"),
    [
        ("user:pass", "Basic dXNlcjpwYXNz"),
        ("user:p%40ss%3A", "Basic dXNlcjpwQHNzOg=="),  # p@ss:
        ("user:p@ss:", "Basic dXNlcjpwQHNzOg=="),
        ("user", "Basic dXNlcjo="),
        ("%C3%BC:x", "Basic w7w6eA=="),
    ],
)
def test_user_and_password_are_for_basic_authorization(login: str, authorization: str) -> None:
    for scheme in ("http://", ""):
        proxy = parse_proxy(f"{scheme}{login}@proxy.example:3128", "--via")
        assert proxy == HttpProxy(address="proxy.example:3128", authorization=authorization)


@pytest.mark.parametrize(
    "url", ["https://u:secret@a:1", "socks5://u:secret@a:1", "http://", "http://u:secret@", "http://u:secret@:80",
            "http://u:secret@a:b", "http://u:secret@a:99999", "http://u:secret@a:0", "http://u:secret@::1:80",
            "http://u:secret@a\n:80"],
)  # fmt: skip
def test_what_is_no_proxy_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(BadRequest, match=r"^HTTPS_PROXY is ") as caught:
        parse_proxy(url, "HTTPS_PROXY")
    assert "secret" not in str(caught.value)


def test_a_password_is_in_no_repr() -> None:
    proxies = choose_proxies("http://user:secret@a:1", {})
    assert proxies.proxy is not None
    assert proxies.proxy.authorization
    assert "secret" not in repr(proxies)
    assert proxies.proxy.authorization not in repr(proxies)


def test_without_a_proxy_everything_is_dialled_directly() -> None:
    assert choose_proxies("", {}) == Proxies()
    assert choose_proxies("", {"HTTPS_PROXY": "", "HTTP_PROXY": "a:1"}).between("far.example", 1) is None


def test_via_is_for_everything_whatever_the_environment_says() -> None:
    proxies = choose_proxies("proxy.example:3128", {"HTTPS_PROXY": "other:1", "NO_PROXY": "*"})
    for host in ("far.example", "localhost", "127.0.0.1", ""):
        assert proxies.between(host, 1) == PROXY


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_the_environment_never_sends_loopback_through_the_proxy(name: str) -> None:
    proxies = choose_proxies("", {name: "http://proxy.example:3128"})
    assert proxies.between("far.example", 1) == PROXY
    assert proxies.between("10.0.0.1", 1) == PROXY
    for host in ("localhost", "LOCALHOST", "", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert proxies.between(host, 1) is None


def test_the_lower_case_names_come_first() -> None:
    proxies = choose_proxies(
        "", {"https_proxy": "proxy.example:3128", "HTTPS_PROXY": "other:1", "no_proxy": "a", "NO_PROXY": "b"}
    )
    assert proxies.between("b", 1) == PROXY
    assert proxies.between("a", 1) is None
    assert choose_proxies("", {"https_proxy": "", "HTTPS_PROXY": "other:1"}) == Proxies()


def test_a_variable_that_makes_no_sense_is_named() -> None:
    with pytest.raises(BadRequest, match="HTTPS_PROXY is a proxy of a kind that is not known"):
        choose_proxies("", {"HTTPS_PROXY": "socks5://a:1"})


@pytest.mark.parametrize(
    ("spared", "host", "direct"),
    [
        ("*", "far.example", True),
        ("far.example", "far.example", True),
        ("FAR.example", "far.EXAMPLE", True),
        ("far.example", "a.far.example", True),
        (".far.example", "a.far.example", True),
        (".far.example", "far.example", True),
        ("*.far.example", "a.far.example", True),
        ("far.example", "far.example.", True),
        ("far.example", "toofar.example", False),
        ("far.example", "example", False),
        ("x, far.example ,y", "far.example", True),
        ("far.example:1", "far.example", True),
        ("far.example:2", "far.example", False),
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.2.3", False),
        ("10.1.0.0/16", "::ffff:10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:1", "10.1.2.3", True),
        ("10.1.2.3:2", "10.1.2.3", False),
        ("10.1.2.3", "10.1.2.30", False),
        ("10.0.0.0/8", "10.example", False),
        ("fd00::/8", "fd00::1", True),
        ("fd00::1", "fd00::1", True),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]:1", "fd00::1", True),
        ("[fd00::1]:2", "fd00::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("", "far.example", False),
        (",.,*.", "far.example", False),
    ],
)
def test_no_proxy_names_hosts_what_is_below_them_addresses_and_networks(spared: str, host: str, direct: bool) -> None:
    proxies = choose_proxies("", {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": spared})
    assert proxies.between(host, 1) == (None if direct else PROXY)
