import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from sdk.errors import MicroError, RemoteProtocolError, Unavailable
from sdk.rawsocket import RawSocket, bound_address, listen_tcp, open_tcp, take_over
from tests.tunnel.transport.certificates import authority, believing, ca_file, files
from tunnel.transport.tls import Tls, TlsConfig
from tunnel.transport.tlsstream import TlsStream, explain

HOST = "127.0.0.1"
HINT = "; --tls-ca (MICRO_TLS_CA) names the CAs to believe instead of the system's"


@asynccontextmanager
async def sockets() -> AsyncIterator[tuple[RawSocket, RawSocket]]:
    [listener] = await listen_tcp(f"{HOST}:0")
    async with listener, await open_tcp(bound_address(listener)) as near, take_over(await listener.accept()) as far:
        yield near, far


def ends(near: RawSocket, far: RawSocket, dialler: TlsConfig, acceptor: TlsConfig) -> tuple[TlsStream, TlsStream]:
    accepting = Tls(acceptor).accepting
    assert accepting is not None
    return TlsStream(near, Tls(dialler).dialling, host=HOST), TlsStream(far, accepting)


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[TlsStream, TlsStream]]:
    """The dialling end and the accepting one, through with their handshake."""
    async with sockets() as (near, far):
        dialler, acceptor = ends(near, far, believing(folder), files(folder))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialler.handshake)
            nursery.start_soon(acceptor.handshake)
        yield dialler, acceptor


async def outcomes(dialler: TlsStream, acceptor: TlsStream) -> tuple[str, str]:
    """What each end has to say of the handshake and of the first byte after it."""
    said = ["", ""]

    async def talk(number: int, end: TlsStream) -> None:
        try:
            await end.handshake()
            await end.send_all(b"x")
            if not await end.receive_some():
                said[number] = "end"
        except (MicroError, trio.BrokenResourceError) as error:
            said[number] = str(error)
            await end.aclose()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, 0, dialler)
            nursery.start_soon(talk, 1, acceptor)
    return said[0], said[1]


async def test_bytes_cross_both_ways_at_once_and_none_are_on_the_wire_in_clear(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8192

    async def receive(end: TlsStream) -> None:
        got = b""
        while len(got) < len(data):
            some = await end.receive_some()
            assert 0 < len(some) <= 65536
            got += some
        assert got == data

    async with pair(tmp_path) as (dialler, acceptor), trio.open_nursery() as nursery:
        for end in (dialler, acceptor):
            nursery.start_soon(end.send_all, data)
            nursery.start_soon(receive, end)
    async with pair(tmp_path) as (dialler, acceptor):
        await dialler.send_all(b"a secret")
        assert b"secret" not in await acceptor.socket.receive_some()


async def test_bytes_that_were_read_to_tell_the_protocol_are_not_lost(tmp_path: Path) -> None:
    async with sockets() as (near, far):
        dialler, _ = ends(near, far, believing(tmp_path), files(tmp_path))
        accepting = Tls(files(tmp_path)).accepting
        assert accepting is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialler.handshake)
            first = await far.receive_some(1)
            await TlsStream(far, accepting, first=first).handshake()


async def test_the_socket_may_close_without_a_word_of_tls(tmp_path: Path) -> None:
    async with pair(tmp_path) as (dialler, acceptor):
        await dialler.send_all(b"last")
        await dialler.aclose()
        assert await acceptor.receive_some() == b"last"
        assert await acceptor.receive_some() == b""
        assert await acceptor.receive_some() == b""
        with pytest.raises(trio.ClosedResourceError):
            await dialler.receive_some()


async def test_an_end_that_sends_nothing_more_still_gets_all_that_the_other_sends(tmp_path: Path) -> None:
    sent = bytes(range(256)) * 400
    async with pair(tmp_path) as (dialler, acceptor):
        await dialler.send_all(sent)
        received = await acceptor.receive_some(100)  # the rest of the record is read, and nobody has asked for it yet
        await acceptor.send_eof()
        assert await dialler.receive_some() == b""
        await dialler.send_all(b"last")
        await dialler.send_eof()
        while data := await acceptor.receive_some(10_000):
            received += data
        assert received == sent + b"last"


async def test_the_end_of_a_connection_that_is_gone_needs_no_saying(tmp_path: Path) -> None:
    async with pair(tmp_path) as (dialler, acceptor):
        await dialler.socket.send_eof()  # without a word in TLS
        assert await acceptor.receive_some() == b""
        await acceptor.send_eof()
    async with pair(tmp_path) as (dialler, acceptor):
        dialler.socket.abort()
        with pytest.raises(trio.BrokenResourceError):
            await acceptor.receive_some()
        await acceptor.send_eof()


async def test_a_record_that_was_changed_on_its_way_ends_it_and_says_why(tmp_path: Path) -> None:
    async with pair(tmp_path) as (dialler, acceptor):
        await dialler.socket.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(trio.BrokenResourceError, match=r"TLS failed: .*bad record mac"):
            await acceptor.receive_some()
        with pytest.raises(trio.BrokenResourceError, match="TLS failed"):
            await acceptor.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError, match="TLS failed"):
            await dialler.receive_some()  # the alert


async def test_a_ca_that_is_not_believed_is_refused_at_both_ends(tmp_path: Path) -> None:
    for dialler in (TlsConfig(), believing(tmp_path, "another")):
        async with sockets() as (near, far):
            said = await outcomes(*ends(near, far, dialler, files(tmp_path)))
        assert said[0].startswith("certificate verify failed: ")
        assert said[0].endswith(HINT)
        assert said[1] == "it does not believe the CA of the certificate it was shown"


async def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    async with sockets() as (near, far):
        said = await outcomes(*ends(near, far, believing(tmp_path), files(tmp_path, "elsewhere.example")))
    assert said[0] == "certificate verify failed: IP address mismatch, certificate is not valid for '127.0.0.1'"
    assert said[1]


async def test_a_certificate_that_has_expired_is_refused(tmp_path: Path) -> None:
    old = authority("trusted").issue_cert(HOST, not_after=datetime.now(UTC) - timedelta(days=1))
    both = tmp_path / "old.pem"
    both.write_bytes(old.private_key_and_cert_chain_pem.bytes())
    async with sockets() as (near, far):
        said = await outcomes(*ends(near, far, believing(tmp_path), TlsConfig(cert=str(both))))
    assert said == ("certificate verify failed: certificate has expired", explainable("certificate_expired"))


def explainable(alert: str) -> str:
    error = ssl.SSLError(1, alert)
    error.reason = f"SSLV3_ALERT_{alert.upper()}"
    return explain(error)


@pytest.mark.parametrize("by", ["nobody", "another", "trusted"])
async def test_a_client_certificate_that_is_demanded_must_be_given(tmp_path: Path, by: str) -> None:
    acceptor = files(tmp_path, ca="trusted")
    shown = TlsConfig() if by == "nobody" else files(tmp_path, "client.example", by=by)
    dialler = TlsConfig(ca=ca_file(tmp_path), cert=shown.cert, key=shown.key)
    async with sockets() as (near, far):
        said = await outcomes(*ends(near, far, dialler, acceptor))
    assert (
        said
        == {
            "nobody": (
                "it demands a client certificate: give --tls-cert (MICRO_TLS_CERT) and --tls-key (MICRO_TLS_KEY)",
                "it shows no certificate, and this node demands one",
            ),
            "another": (
                "it does not believe the CA of the certificate it was shown",
                f"certificate verify failed: unable to get local issuer certificate{HINT}",
            ),
            "trusted": ("", ""),
        }[by]
    )


async def test_tls_before_1_2_is_refused(tmp_path: Path) -> None:
    async with sockets() as (near, far):
        _, acceptor = ends(near, far, believing(tmp_path), files(tmp_path))
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(ca_file(tmp_path))
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        said = await outcomes(TlsStream(near, old, host=HOST), acceptor)
    assert said[1] == "it speaks no version of TLS that this node speaks: 1.2 or newer"


async def test_what_answers_with_something_else_does_not_speak_tls(tmp_path: Path) -> None:
    async with sockets() as (near, far):
        dialler, _ = ends(near, far, believing(tmp_path), files(tmp_path))
        await far.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(RemoteProtocolError, match="it does not speak TLS there"):
            await dialler.handshake()


async def test_who_leaves_during_the_handshake_is_told_so(tmp_path: Path) -> None:
    async with sockets() as (near, far):
        dialler, acceptor = ends(near, far, believing(tmp_path), files(tmp_path))
        await near.aclose()
        with pytest.raises(Unavailable, match="it closed the connection during the TLS handshake"):
            await acceptor.handshake()
        await far.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await dialler.handshake()


async def test_http_1_1_is_what_it_says_it_speaks_inside(tmp_path: Path) -> None:
    async with pair(tmp_path) as ends:
        assert [end._tls.selected_alpn_protocol() for end in ends] == ["http/1.1"] * 2
