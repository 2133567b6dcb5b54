"""Lists are fetched from a real server over TCP."""

import base64
import gzip
import logging
import ssl
from pathlib import Path

import h11
import pytest
import trio
from trio.testing import MockClock

from mesh.resolver.http import MAX_BODY, REDIRECTS, HttpList
from mesh.resolver.lookup import LONGEST
from sdk.errors import RemoteProtocolError, Unavailable
from tests.mesh.resolver.servers import Answer, header, web_server
from tests.tunnel.transport.certificates import ca_file, files

LIST = b'{"nodes": [{"address": "10.0.0.1:8085"}]}'


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own proxy is not asked."""
    monkeypatch.setenv("NO_PROXY", "*")


async def test_the_nodes_are_those_on_the_list() -> None:
    async with web_server() as server:
        server.answer = lambda _: Answer(LIST)
        assert await HttpList(f"http://{server.address}/nodes?name=a").find() == (("10.0.0.1:8085",), "")
        [request] = server.asked
        assert (request.method, request.target) == (b"GET", b"/nodes?name=a")


async def test_a_list_that_is_as_it_was_is_not_sent_again() -> None:
    def answer(request: h11.Request) -> Answer:
        if header(request, b"if-none-match") == b'"one"':
            return Answer(status=304)
        return Answer(LIST, headers={"ETag": '"one"'})

    async with web_server() as server:
        server.answer = answer
        nodes = HttpList(f"http://{server.address}/")
        assert await nodes.find() == await nodes.find() == (("10.0.0.1:8085",), "")
        assert [header(request, b"if-none-match") for request in server.asked] == [b"", b'"one"']
        server.answer = lambda _: Answer(b"[]", headers={"ETag": '"two"'})
        assert await nodes.find() == ((), "")
        server.answer = lambda _: Answer(b"[]")
        for _ in range(2):
            await nodes.find()
        assert [header(request, b"if-none-match") for request in server.asked[-2:]] == [b'"two"', b""]


async def test_a_tag_that_came_with_a_bad_list_is_not_kept() -> None:
    async with web_server() as server:
        server.answer = lambda _: Answer(b"<html>", headers={"ETag": '"one"'})
        nodes = HttpList(f"http://{server.address}/")
        for _ in range(2):
            with pytest.raises(RemoteProtocolError):
                await nodes.find()
        assert [header(request, b"if-none-match") for request in server.asked] == [b"", b""]


@pytest.mark.parametrize("status", [204, 304, 404, 500])
async def test_any_other_answer_is_a_failure_that_names_its_status(status: int) -> None:
    async with web_server() as server:
        server.answer = lambda _: Answer(status=status)
        with pytest.raises(Unavailable, match=str(status)):
            await HttpList(f"http://{server.address}/").find()


async def test_a_server_that_nobody_runs_is_a_failure() -> None:
    async with web_server() as server:
        address = server.address
    with pytest.raises(Unavailable):
        await HttpList(f"http://{address}/").find()


async def test_a_list_without_end_is_not_read_to_it() -> None:
    async with web_server() as server:
        server.answer = lambda _: Answer(b"\n" * MAX_BODY)
        assert await HttpList(f"http://{server.address}/").find() == ((), "")
        server.answer = lambda _: Answer(b"\n" * (MAX_BODY + 1))
        with pytest.raises(RemoteProtocolError, match="256 KiB"):
            await HttpList(f"http://{server.address}/").find()


async def test_a_packed_list_is_not_unpacked() -> None:
    async with web_server() as server:
        server.answer = lambda _: Answer(gzip.compress(b"\n" * 10_000_000), headers={"Content-Encoding": "gzip"})
        with pytest.raises(RemoteProtocolError, match="packed"):
            await HttpList(f"http://{server.address}/").find()
        assert header(server.asked[0], b"accept-encoding") == b"identity"


async def test_a_list_that_drips_can_be_given_up(fast_clock: MockClock) -> None:
    async with web_server() as server:
        server.answer = lambda _: Answer(LIST, dribble=5)
        nodes = HttpList(f"http://{server.address}/")
        with trio.move_on_after(LONGEST) as scope:
            await nodes.find()
        assert scope.cancelled_caught


def secret(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


async def test_a_password_is_sent_to_its_server_and_told_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with web_server() as server:
        server.answer = lambda _: Answer(LIST)
        nodes = HttpList(f"http://john:open%40sesame@{server.address}/nodes?key=sesame")
        await nodes.find()
        assert header(server.asked[0], b"authorization") == secret("john", "open@sesame")
        assert nodes.name == f"http://{server.address}/nodes"
        server.answer = lambda _: Answer(status=500)
        with pytest.raises(Unavailable) as caught:
            await nodes.find()
    for text in (caplog.text, str(caught.value), nodes.name):
        assert "sesame" not in text
        assert secret("john", "open@sesame").decode() not in text


async def test_redirects_are_followed_a_few_times_and_a_password_goes_to_no_other_server() -> None:
    async with web_server() as server, web_server() as other:
        target = {b"/": "/here", b"/here": f"http://{other.address}/there"}
        server.answer = lambda request: Answer(status=302, headers={"Location": target[request.target]})
        other.answer = lambda _: Answer(LIST)
        assert await HttpList(f"http://john:sesame@{server.address}/").find() == (("10.0.0.1:8085",), "")
        assert [header(request, b"authorization") for request in server.asked] == [secret("john", "sesame")] * 2
        assert header(other.asked[0], b"authorization") == b""
        server.asked.clear()
        target[b"/here"] = "/"
        with pytest.raises(Unavailable, match="redirects more than"):
            await HttpList(f"http://{server.address}/").find()
        assert len(server.asked) == REDIRECTS + 1


@pytest.mark.parametrize("there", ["https://{}/", "ftp://{}/", "file:///etc/passwd"])
async def test_a_redirect_to_another_scheme_is_not_followed(there: str) -> None:
    async with web_server() as server:
        server.answer = lambda _: Answer(status=301, headers={"Location": there.format(server.address)})
        with pytest.raises(RemoteProtocolError, match="redirects from http to"):
            await HttpList(f"http://{server.address}/").find()
        assert len(server.asked) == 1


async def test_inside_tls_only_a_server_with_a_certificate_that_is_trusted_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = files(tmp_path, "127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.cert, certificate.key)
    async with web_server(tls) as server:
        server.answer = lambda _: Answer(LIST)
        url = f"https://{server.address}/"
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await HttpList(url).find()
        assert not server.asked
        monkeypatch.setenv("SSL_CERT_FILE", ca_file(tmp_path, "trusted"))
        assert await HttpList(url).find() == (("10.0.0.1:8085",), "")
