"""Certificates that others replace while a program runs."""

import logging
import os
import ssl
from pathlib import Path

import pytest
import trio
import trustme

from sdk.errors import BadRequest
from sdk.registry.http import HttpClient
from sdk.registry.url import certificates_of, parse_url
from tests.sdk.registry.test_http import listen


def written(path: Path, text: bytes) -> None:
    """As whoever hands out certificates writes them: nobody sees half of it."""
    beside = path.with_suffix(".new")
    beside.write_bytes(text)
    os.replace(beside, path)


async def test_what_is_shown_is_what_stands_in_the_files_and_half_a_change_is_none(
    nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca = trustme.CA()
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(theirs)
    ca.configure_trust(theirs)
    theirs.verify_mode = ssl.CERT_REQUIRED

    async def serve(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        while await stream.receive_some():
            shown = stream.getpeercert()
            [name] = [value for kind, value in shown["subjectAltName"] if kind == "DNS"]
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(name), name.encode()))

    files = {name: tmp_path / name for name in ("ca", "cert", "key")}
    first, second = ca.issue_cert("first"), ca.issue_cert("second")
    ca.cert_pem.write_to_path(files["ca"])
    first.cert_chain_pems[0].write_to_path(files["cert"])
    first.private_key_pem.write_to_path(files["key"])
    query = "&".join(f"{name}={file}" for name, file in files.items())
    port = await listen(nursery, serve, theirs)
    url = parse_url(f"etcds://127.0.0.1:{port}?{query}", scheme="etcd", port=1)
    async with HttpClient(url.servers[0], tls=certificates_of(url)) as http:

        async def shown() -> bytes:
            return (await http.request("GET", "/")).body

        assert await shown() == b"first"
        written(files["cert"], second.cert_chain_pems[0].bytes())
        with caplog.at_level(logging.WARNING):
            assert [await shown(), await shown()] == [b"first", b"first"]
        assert caplog.text.count("does not fit the certificate") == 1
        assert str(files["key"]) in caplog.text
        written(files["key"], second.private_key_pem.bytes())
        assert await shown() == b"second"
        files["ca"].unlink()
        assert await shown() == b"second"


def test_what_cannot_be_used_from_the_beginning_is_refused() -> None:
    with pytest.raises(BadRequest, match="/nowhere cannot be used"):
        certificates_of(parse_url("etcds://h?ca=/nowhere", scheme="etcd", port=1))
