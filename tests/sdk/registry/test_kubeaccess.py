"""Where a cluster is found and what it is shown: pods, files of kubectl, and files that cannot be used."""

import base64
import json
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
import yaml

from sdk.errors import BadRequest, Unavailable
from sdk.registry.http import HttpClient
from sdk.registry.kubeaccess import find_access
from sdk.registry.kubecredential import VERSIONS


def config(cluster: dict[str, Any], user: dict[str, Any] | None, **context: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [
                {"name": "there", "context": {}},
                {"name": "here", "context": {"cluster": "c", "user": "u", **context}},
            ],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
        }
    )


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


async def test_a_pod_has_its_account_and_a_token_that_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    (tmp_path / "namespace").write_text("shop\n")
    (tmp_path / "token").write_text("one\n")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    access = find_access(account=tmp_path)
    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "shop")
    assert access.tls is not None
    before = access.tls()
    assert access.tls() is before
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    assert access.tls() is not before
    assert (await access.credential()).headers == {"authorization": "Bearer one"}
    refused = await access.credential()
    assert not await access.renewed(refused)
    (tmp_path / "token").write_text("two")
    assert await access.renewed(refused)
    assert (await access.credential()).headers == {"authorization": "Bearer two"}
    (tmp_path / "token").unlink()
    with pytest.raises(Unavailable, match="token"):
        await access.credential()


async def test_a_file_of_kubectl_is_found_where_kubectl_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    (tmp_path / "home" / ".kube" / "config").write_text(config({"server": "http://h:1"}, {"token": "s3cret"}))
    (tmp_path / "other").write_text(config({"server": "http://h:2"}, None, namespace="shop"))
    access = find_access()
    assert (access.server, access.namespace, access.tls) == ("http://h:1", "default", None)
    assert (await access.credential()).headers == {"authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(access)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'other'}:elsewhere")
    access = find_access()
    assert (access.server, access.namespace, (await access.credential()).headers) == ("http://h:2", "shop", {})


@pytest.mark.parametrize("inline", [True, False])
async def test_certificates_are_shown_and_checked(tmp_path: Path, inline: bool, nursery: trio.Nursery) -> None:
    authority = trustme.CA()
    ours = authority.issue_cert("us@example.com")
    found = {
        "certificate-authority": authority.cert_pem.bytes(),
        "client-certificate": b"".join(blob.bytes() for blob in ours.cert_chain_pems),
        "client-key": ours.private_key_pem.bytes(),
    }
    said: dict[str, str] = {}
    for name, pem in found.items():
        (tmp_path / name).write_bytes(pem)
        said |= {f"{name}-data": base64.b64encode(pem).decode()} if inline else {name: name}
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("kubernetes.test").configure_cert(serving)
    authority.configure_trust(serving)
    serving.verify_mode = ssl.CERT_REQUIRED

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    listeners = await nursery.start(
        partial(trio.serve_ssl_over_tcp, answer, 0, serving, host="127.0.0.1", https_compatible=True)
    )
    port = listeners[0].transport_listener.socket.getsockname()[1]
    (tmp_path / "config").write_text(
        config(
            {
                "server": f"https://127.0.0.1:{port}",
                "tls-server-name": "kubernetes.test",
                **{name: said[name] for name in said if "client" not in name},
            },
            {name: said[name] for name in said if "client" in name},
        )
    )
    access = find_access(str(tmp_path / "config"))
    async with HttpClient(access.server, tls=access.tls, server_name=access.server_name) as http:
        assert (await http.request("GET", "/")).status == 200
    assert access.tls is not None
    before = access.tls()
    (tmp_path / "client-certificate").write_bytes(found["client-certificate"])
    assert (access.tls() is before) is inline
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no YAML"),
        ("[]", "no kubeconfig"),
        ("{}", "no current context"),
        ("{current-context: here, contexts: [{name: s3cret}]}", "a context that it does not have"),
        ("{current-context: here, contexts: [{name: here, context: {}}]}", "KeyError; does kubectl work"),
        ("{current-context: here, contexts: [{name: here, context: s3cret}]}", "AttributeError; does kubectl work"),
        (config({"server": "https://h", "insecure-skip-tls-verify": True}, None), "verified"),
        (config({"server": "https://h", "certificate-authority-data": "s3cret!"}, None), "does kubectl work"),
        (config({"server": "https://h", "proxy-url": "http://p"}, None), "behind a proxy"),
        (config({"server": "https://h"}, {"username": "me", "password": "s3cret"}), "tokens and certificates only"),
        (config({"server": "https://h"}, {"auth-provider": {"name": "gcp", "config": {"x": "s3cret"}}}), "use exec"),
        (config({"server": "https://h"}, {"token": "s3cret", "as": "admin"}), "name of another"),
        (
            config({"server": "https://h"}, {"exec": {"command": "aws", "args": ["s3cret"]}}),
            "the program aws that .*v1",
        ),
        (config({"server": "https://h"}, {"exec": {"args": ["s3cret"], "apiVersion": VERSIONS[0]}}), "KeyError"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_shows_nothing(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(BadRequest, match=says) as caught:
        find_access(str(tmp_path / "config"))
    assert "s3cret" not in str(caught.value)


async def test_a_program_makes_the_credentials_unless_there_is_a_token(tmp_path: Path) -> None:
    made = {"apiVersion": VERSIONS[0], "kind": "ExecCredential", "status": {"token": "made"}}
    program = {"exec": {"apiVersion": VERSIONS[0], "command": "echo", "args": [json.dumps(made)]}}
    for user, token in ((program, "made"), (program | {"token": "given"}, "given")):
        (tmp_path / "config").write_text(config({"server": "http://h"}, user))
        access = find_access(str(tmp_path / "config"))
        assert (await access.credential()).token == token


async def test_a_program_is_told_of_the_cluster_if_it_wants_to_know(tmp_path: Path) -> None:
    authority = trustme.CA().cert_pem.bytes()
    (tmp_path / "ca.crt").write_bytes(authority)
    (tmp_path / "tell").write_text('#!/bin/sh\necho "$KUBERNETES_EXEC_INFO" > "$1/told"\nexit 1\n')
    (tmp_path / "tell").chmod(0o700)
    own = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]
    program = {
        "apiVersion": VERSIONS[1],
        "command": "./tell",  # beside the file, wherever this process is
        "args": [str(tmp_path)],
        "provideClusterInfo": True,
    }
    said = {"certificate-authority": "ca.crt", "tls-server-name": "other", "extensions": own}
    (tmp_path / "config").write_text(config({"server": "https://h", **said}, {"exec": program}))
    access = find_access(str(tmp_path / "config"))
    with pytest.raises(Unavailable):
        await access.credential()
    assert json.loads((tmp_path / "told").read_text()) == {
        "apiVersion": VERSIONS[1],
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://h",
                "tls-server-name": "other",
                "certificate-authority-data": base64.b64encode(authority).decode(),
                "config": {"audience": "a"},
            },
        },
    }


def test_where_no_cluster_is_the_way_out_is_named() -> None:
    with pytest.raises(BadRequest, match="kubeconfig=FILE"):
        find_access()
