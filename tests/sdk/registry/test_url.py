"""Where a registry is, as people write it."""

from pathlib import Path

import pytest
import trustme

from mesh.config import NodeConfig
from mesh.standalone import RouterConfig
from sdk.config import ClientConfig, ServiceConfig
from sdk.errors import BadRequest
from sdk.registry.url import certificates_of, parse_url


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", ("127.0.0.1:2379",)),
        ("h", ("h:2379",)),
        ("h:1,[::1]:2,[::2],:3", ("h:1", "[::1]:2", "[::2]:2379", "127.0.0.1:3")),
        ("etcd://", ("127.0.0.1:2379",)),
        ("etcd://h:1,i/", ("h:1", "i:2379")),
        ("http://h", ("h:2379",)),
    ],
)
def test_the_servers_are_named_with_their_ports(text: str, hosts: tuple[str, ...]) -> None:
    url = parse_url(text, scheme="etcd", port=2379)
    assert url.hosts == hosts
    assert url.servers == tuple(f"http://{host}" for host in hosts)
    assert url.shown == f"etcd://{','.join(hosts)}"
    assert certificates_of(url) is None


def test_who_asks_and_the_options_are_read_and_never_shown() -> None:
    text = "etcds://us%40er:se%3Acret@h,i:1?token=hidden"
    url = parse_url(text, scheme="etcd", port=2379, options=frozenset({"token"}))
    assert (url.user, url.password, url.options) == ("us@er", "se:cret", {"token": "hidden"})
    assert url.servers == ("https://h:2379", "https://i:1")
    assert url.shown == "etcds://h:2379,i:1"
    assert "cret" not in repr(url)
    assert "hidden" not in repr(url)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("consul://u:secret@h", "begins with neither etcd:// nor etcds://"),
        ("etcd://u:secret@h:port", "server 1 of it is no address: expected host:port"),
        ("etcd://u:secret?secret@h:2379", "an option that etcd does not know"),
        ("etcd://u:secret", "expected host:port"),
        ("etcd://u:secret@h?ca=/x", "certificates belong to etcds://"),
        ("etcds://u:secret@h?password=secret", "it knows ca, cert, key"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_flags_name_and_without_the_secret(text: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_url(text, scheme="etcd", port=2379)
    assert says in str(caught.value)
    assert "--registry-address (MICRO_REGISTRY_ADDRESS)" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_certificates_are_files(tmp_path: Path) -> None:
    ca = trustme.CA()
    ours, other = ca.issue_cert("client"), ca.issue_cert("other")
    names = {name: str(tmp_path / name) for name in ("ca", "cert", "key", "both", "wrong")}
    ca.cert_pem.write_to_path(names["ca"])
    ours.cert_chain_pems[0].write_to_path(names["cert"])
    ours.private_key_pem.write_to_path(names["key"])
    other.private_key_pem.write_to_path(names["wrong"])
    ours.private_key_and_cert_chain_pem.write_to_path(names["both"])

    def made(**options: str) -> object:
        query = "&".join(f"{name}={names.get(value, value)}" for name, value in options.items())
        return certificates_of(parse_url(f"etcds://h?{query}", scheme="etcd", port=1))

    assert made() is not None
    assert made(ca="ca", cert="cert", key="key") is not None
    assert made(ca="ca", cert="both") is not None
    for options, says in (
        ({"key": "key"}, "give cert=FILE"),
        ({"ca": "/nowhere"}, "/nowhere cannot be used: No such file"),
        ({"ca": "key"}, "no PEM"),
        ({"cert": "cert", "key": "wrong"}, "does not fit"),
    ):
        with pytest.raises(BadRequest, match=says):
            made(**options)


def test_no_configuration_shows_the_password_of_a_registry() -> None:
    url = "etcd://user:secret@h"
    for config in (
        ClientConfig(registry=url, registry_address=url),
        ServiceConfig(name="greeter", registry=url, registry_address=url),
        NodeConfig(registry=url, registry_address=url),
        RouterConfig(registry=url, registry_address=url),
    ):
        assert "secret" not in repr(config)
