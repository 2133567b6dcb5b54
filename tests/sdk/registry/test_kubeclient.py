"""The API server asked for slices: in pages, in one piece, and in bounded time."""

import json
import ssl
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from sdk.errors import Unauthorized, Unavailable
from sdk.registry.kubeaccess import find_access
from sdk.registry.kubeclient import PAGE, Expired, KubeClient
from sdk.registry.kubecredential import VERSIONS
from tests.sdk.registry.conftest import KUBECONFIG
from tests.sdk.registry.kubeserver import KubeServer, slice_of
from tests.sdk.registry.test_kubecredential import printed


@pytest.fixture
def client(kube: KubeServer, tmp_path: Path) -> KubeClient:
    return KubeClient(find_access(str(tmp_path / "config")), "shop", "team=a")


async def test_a_selector_goes_with_every_question(kube: KubeServer, client: KubeClient) -> None:
    async with client:
        version, _ = await client.everything()
        async with client.changes(version):
            pass
    assert [asked.query["labelSelector"] for asked in kube.asked] == ["kubernetes.io/service-name,team=a"] * 2
    assert kube.asked[0].query["limit"] == str(PAGE)


async def test_a_list_that_grows_too_old_while_it_is_read_is_read_all_at_once(
    kube: KubeServer, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.registry.kubeclient.PAGE", 2)
    for number in range(5):
        item = slice_of(f"s{number}", str(number))
        item["metadata"]["labels"]["team"] = "a"
        kube.put(item)
    kube.page_tokens_expire = 1
    async with client:
        version, slices = await client.everything()
    assert (version, len(slices)) == ("105", 5)
    assert [asked.query.get("limit") for asked in kube.asked] == ["2", "2", None]


async def test_a_list_without_an_end_is_given_up(
    kube: KubeServer, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.registry.kubeclient.LISTING", 0.1)
    kube.pages_repeat = True
    async with client:
        with pytest.raises(Unavailable, match=r"did not end within 0\.1 s"):
            await client.everything()


async def test_a_version_that_is_no_longer_kept_is_told_apart(kube: KubeServer, client: KubeClient) -> None:
    kube.compact()
    async with client:
        with pytest.raises(Expired):
            async with client.changes("100"):
                pytest.fail("it is not kept")


async def test_who_is_not_known_is_told_whose_credentials_they_were(
    kube: KubeServer, client: KubeClient, tmp_path: Path
) -> None:
    kube.token = "an0ther"
    async with client:
        with pytest.raises(Unauthorized, match=f"the token or certificate of {tmp_path / 'config'}"):
            await client.everything()


@pytest.fixture
def by_program(kube: KubeServer, tmp_path: Path) -> KubeClient:
    """One whose token a program makes, which prints the file `made`."""
    config = (tmp_path / "config").read_text().replace("tokenFile: token", f"exec: {exec_of(tmp_path / 'made')}")
    (tmp_path / "config").write_text(config)
    (tmp_path / "made").write_bytes(printed(token=kube.token))
    return KubeClient(find_access(str(tmp_path / "config")), "shop", "")


def exec_of(file: Path) -> str:
    return json.dumps({"apiVersion": VERSIONS[0], "command": "cat", "args": [str(file)]})


@pytest.mark.parametrize("question", ["list", "watch"])
async def test_credentials_that_are_refused_are_made_again_and_tried_once_more(
    kube: KubeServer, by_program: KubeClient, tmp_path: Path, question: str
) -> None:
    async def ask() -> None:
        if question == "list":
            await by_program.everything()
        else:
            async with by_program.changes("100") as lines:
                assert lines.status == 200

    async with by_program:
        await ask()
        kube.token = "an0ther"
        with pytest.raises(Unauthorized, match="renew the token"):
            await ask()
        (tmp_path / "made").write_bytes(printed(token="an0ther"))
        before = len(kube.asked)
        await ask()
        await ask()
        assert len(kube.asked) == before + 3


async def test_a_certificate_that_is_made_anew_is_shown_on_new_connections(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    authority = trustme.CA()
    (tmp_path / "ca.crt").write_bytes(authority.cert_pem.bytes())
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    authority.configure_trust(serving)
    serving.verify_mode = ssl.CERT_OPTIONAL  # as an API server has it: who shows none is refused by its answer
    seen = []

    def make(name: str) -> None:
        ours = authority.issue_cert(f"{name}@example.com")
        pem = b"".join(blob.bytes() for blob in ours.cert_chain_pems).decode()
        key = ours.private_key_pem.bytes().decode()
        (tmp_path / "made").write_bytes(printed(clientCertificateData=pem, clientKeyData=key))

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.do_handshake()
        [[_, name]] = stream.getpeercert()["subjectAltName"]
        body = b'{"metadata":{"resourceVersion":"1"}}'
        try:
            while await stream.receive_some():
                seen.append(name.partition("@")[0])
                status = "401 No" if seen[-1] == refused else "200 OK"
                await stream.send_all(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        except trio.BrokenResourceError:
            pass  # the client says no goodbye

    listeners = await nursery.start(
        partial(trio.serve_ssl_over_tcp, answer, 0, serving, host="127.0.0.1", https_compatible=True)
    )
    port = listeners[0].transport_listener.socket.getsockname()[1]
    config = KUBECONFIG.format(port=port).replace("tokenFile: token", f"exec: {exec_of(tmp_path / 'made')}")
    config = config.replace('server: "http:', 'certificate-authority: ca.crt, server: "https:')
    (tmp_path / "config").write_text(config)
    refused = ""
    make("one")
    async with KubeClient(find_access(str(tmp_path / "config")), "shop", "") as client:
        await client.everything()
        await client.everything()
        refused = "one"
        make("two")
        await client.everything()
    assert seen == ["one", "one", "one", "two"]
    nursery.cancel_scope.cancel()
