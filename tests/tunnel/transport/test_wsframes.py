"""The data phase of a WebSocket: what goes in comes out, and what breaks the rules is named."""

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong

from sdk.errors import RemoteProtocolError
from tunnel.transport.wsframes import MAX_MESSAGE, NO_CODE, WebSocketFault, WebSocketFrames, mask, mask_in_python


def ends() -> tuple[WebSocketFrames, WebSocketFrames]:
    """A client and a server."""
    return WebSocketFrames(client=True, mask=lambda: b"\x01\x02\x03\x04"), WebSocketFrames(client=False, mask=bytes)


@given(st.binary(max_size=9000), st.binary(min_size=4, max_size=4))
def test_a_mask_is_taken_off_by_itself(data: bytes, key: bytes) -> None:
    masked = mask(data, key)
    assert masked == bytes(byte ^ key[at % 4] for at, byte in enumerate(data)) == mask_in_python(data, key)
    assert mask(masked, key) == data


@pytest.mark.parametrize("size", [0, 1, 125, 126, 4095, 4096, 65535, 65536, 65537, 200_000])
@pytest.mark.parametrize("first", [0, 1])
def test_any_number_of_bytes_crosses_both_ways(size: int, first: int) -> None:
    here, there = ends() if first == 0 else ends()[::-1]
    data = os.urandom(size)
    assert there.receive_untrusted(b"".join(here.pack(data))) == data


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_it_makes_no_difference_how_the_bytes_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    client, server = ends()
    wire = b"".join(itertools.chain.from_iterable(map(client.pack, messages)))
    got, cut = b"", itertools.cycle(cuts)
    while wire:
        size = next(cut)
        got += server.receive_untrusted(wire[:size])
        wire = wire[size:]
    assert got == b"".join(messages)


@pytest.mark.parametrize("client", [True, False])
def test_another_implementation_reads_and_writes_the_same(client: bool) -> None:
    ours = WebSocketFrames(client=client, mask=lambda: os.urandom(4))
    other = Connection(ConnectionType.SERVER if client else ConnectionType.CLIENT)
    sent = bytes(range(256)) * 300
    other.receive_data(b"".join(ours.pack(sent)))
    assert b"".join(bytes(event.data) for event in other.events() if isinstance(event, BytesMessage)) == sent
    wire = other.send(BytesMessage(data=sent[:1000], message_finished=False))
    wire += other.send(Ping(payload=b"between"))
    wire += other.send(BytesMessage(data=sent[1000:3000], message_finished=True))
    assert ours.receive_untrusted(wire) == sent[:3000]
    other.receive_data(b"".join(ours.answers))
    assert Pong(payload=b"between") in list(other.events())
    assert ours.receive_untrusted(other.send(CloseConnection(code=1001, reason="going"))) == b""
    assert ours.closed == 1001
    other.receive_data(b"".join(ours.answers))
    assert [type(event) for event in other.events()] == [CloseConnection]
    assert ours.pack_close(1000) == b""


def test_only_the_last_of_many_pings_is_answered() -> None:
    client, server = ends()
    pings = b"".join(b"\x89\x81" + bytes(4) + bytes([number]) for number in range(100))
    server.receive_untrusted(pings)
    assert server.answers == [b"\x8a\x01" + bytes([99])]
    client.receive_untrusted(server.answers[0])
    assert client.answers == []


def test_a_close_without_a_code_is_one() -> None:
    client, _ = ends()
    assert client.receive_untrusted(b"\x88\x00" + b"\x82\x01x") == b""
    assert client.closed == NO_CODE
    assert client.answers[0][:2] == b"\x88\x80"


@pytest.mark.parametrize(
    ("wire", "close_with", "what"),
    [
        (b"\x81\x04text", 1003, "text"),
        (b"\xc2\x01x", 1002, "extension"),
        (b"\x82\x81\0\0\0\0x", 1002, "masked"),
        (b"\x83\x01x", 1002, "type 3"),
        (b"\x80\x01x", 1002, "fragment where none was due"),
        (b"\x02\x01x\x82\x01x", 1002, "inside another"),
        (b"\x09\x01x", 1002, "control frame"),
        (b"\x89\x7e\x00\x7e" + bytes(126), 1002, "control frame"),
        (b"\x88\x01x", 1002, "one byte"),
        (b"\x82\x7f" + (MAX_MESSAGE + 1).to_bytes(8, "big"), 1009, "more than 65536"),
    ],
)
def test_whoever_breaks_the_rules_is_told_which(wire: bytes, close_with: int, what: str) -> None:
    client, _ = ends()
    with pytest.raises(WebSocketFault, match=what) as caught:
        client.receive_untrusted(wire)
    assert caught.value.close_with == close_with


def test_a_client_must_mask() -> None:
    _, server = ends()
    with pytest.raises(WebSocketFault, match="not masked"):
        server.receive_untrusted(b"\x82\x01x")


@given(st.binary(max_size=300), st.booleans())
def test_whatever_comes_only_the_documented_error_comes_out(junk: bytes, client: bool) -> None:
    try:
        ends()[not client].receive_untrusted(junk)
    except RemoteProtocolError:
        pass
