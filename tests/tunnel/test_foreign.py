"""Another implementation of Noise, and a node written anew on top of it, understand ours."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from noise.exceptions import NoiseInvalidMessage

from sdk.rawsocket import bound_address, listen_tcp, open_tcp, take_over
from tests.tunnel.bench import NETWORK, TOKEN, Node, node
from tests.tunnel.foreign import (
    CONTROL,
    END,
    OPEN,
    PING,
    PONG,
    Alerted,
    ForeignLink,
    Pipe,
    node_id,
    noise_connection,
)
from tunnel import noise
from tunnel.noise import Handshake, public_key

key = st.binary(min_size=32, max_size=32)
payload = st.binary(max_size=1000)


@given(
    initiator=st.booleans(),
    prologue=st.binary(max_size=50),
    psk=key,
    statics=st.tuples(key, key),
    ephemeral=key,
    payloads=st.tuples(payload, payload, payload),
    records=st.lists(st.tuples(st.booleans(), payload), max_size=12),
)
def test_our_noise_and_another_understand_each_other_in_both_roles(
    initiator: bool,
    prologue: bytes,
    psk: bytes,
    statics: tuple[bytes, bytes],
    ephemeral: bytes,
    payloads: tuple[bytes, bytes, bytes],
    records: list[tuple[bool, bytes]],
) -> None:
    ours = Handshake(initiator=initiator, prologue=prologue, static=statics[0], ephemeral=ephemeral, psk=psk)
    theirs = noise_connection(initiator=not initiator, prologue=prologue, static=statics[1], psk=psk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "REKEY_RECORDS", 3)
        state = theirs.noise_protocol.handshake_state
        for number, text in enumerate(payloads):
            if initiator == (number % 2 == 0):
                assert theirs.read_message(ours.write_message(text)) == text
            else:
                assert ours.read_message_untrusted(bytes(theirs.write_message(text))) == text
        assert theirs.handshake_finished
        assert ours.remote_static == public_key(statics[1])
        assert state.rs.public_bytes == public_key(statics[0])
        seal, opener = ours.split()
        sent = received = 0
        for ours_to_theirs, text in records:
            if ours_to_theirs:
                assert theirs.decrypt(seal.seal(text)) == text
                sent += 1
                if sent % 3 == 0:
                    theirs.rekey_inbound_cipher()
            else:
                assert opener.open_untrusted(theirs.encrypt(text)) == text
                received += 1
                if received % 3 == 0:
                    theirs.rekey_outbound_cipher()


def test_without_renewing_its_key_the_other_one_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "REKEY_RECORDS", 3)
    ours = Handshake(initiator=True, prologue=b"", static=b"1" * 32, ephemeral=b"2" * 32, psk=b"3" * 32)
    theirs = noise_connection(initiator=False, prologue=b"", static=b"4" * 32, psk=b"3" * 32)
    theirs.read_message(ours.write_message())
    ours.read_message_untrusted(bytes(theirs.write_message()))
    theirs.read_message(ours.write_message())
    seal, _ = ours.split()
    for _ in range(3):
        assert theirs.decrypt(seal.seal(b"text")) == b"text"
    with pytest.raises(NoiseInvalidMessage):
        theirs.decrypt(seal.seal(b"text"))


RENEW_RECORDS, RENEW_BYTES = 7, 50_000


@pytest.fixture
def soon_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys last for a few records only."""
    monkeypatch.setattr(noise, "REKEY_RECORDS", RENEW_RECORDS)
    monkeypatch.setattr(noise, "REKEY_BYTES", RENEW_BYTES)


def foreign_link(pipe: Pipe, *, dialled: bool, token: str = TOKEN) -> ForeignLink:
    return ForeignLink(
        pipe,
        dialled=dialled,
        token=token,
        network=NETWORK,
        renew_records=RENEW_RECORDS,
        renew_bytes=RENEW_BYTES,
    )


async def check_link(foreign: ForeignLink, ours: Node) -> None:
    """Calls, control messages and PINGs cross a link in both directions, while keys are renewed."""
    assert (foreign.peer.name, foreign.peer.epoch, foreign.peer.network) == ("n0", 1, NETWORK)
    assert node_id(foreign.peer.public) == ours.id
    await foreign.introduce()
    await ours.recorder.until(lambda: foreign.id in ours.tunnel.links)
    link = ours.tunnel.links[foreign.id]
    assert link.name == "foreign"
    texts = [bytes([number]) * number * 500 for number in range(1, 41)]
    for text in texts:
        await foreign.say(CONTROL, END, 0, text)
    await ours.recorder.until(lambda: len(ours.recorder.controls) == len(texts))
    assert ours.recorder.controls == texts
    for text in texts:
        link.send_control(text)
        assert await foreign.hear_one(CONTROL) == (END, 0, text)
    number = 1 if foreign.dialled else 2
    await foreign.say(OPEN, END, number, b"call")
    await ours.recorder.until(lambda: bool(ours.recorder.frames))
    assert ours.recorder.frames == [(OPEN, END, number, b"call")]
    link.port.send(OPEN, END, link.port.next_stream(), b"called")
    assert await foreign.hear_one(OPEN) == (END, 3 - number, b"called")
    await foreign.say(PING, 0, 0, b"12345678")
    assert await foreign.hear_one(PONG) == (0, 0, b"12345678")
    assert foreign.renewals > 12


@pytest.mark.usefixtures("soon_renewed")
async def test_a_node_of_another_make_links_up_with_us() -> None:
    with trio.fail_after(30):
        async with node(0, "127.0.0.1:0") as a, await open_tcp(a.tunnel.bound[0]) as socket:
            foreign = foreign_link(socket, dialled=True)
            await foreign.meet()
            assert foreign.peer.addresses == a.tunnel.bound
            await check_link(foreign, a)


@pytest.mark.usefixtures("soon_renewed")
async def test_we_link_up_with_a_node_of_another_make() -> None:
    [listener] = await listen_tcp("127.0.0.1:0")
    with trio.fail_after(30):
        async with (
            listener,
            node(0, seeds=(bound_address(listener),)) as a,
            take_over(await listener.accept()) as socket,
        ):
            foreign = foreign_link(socket, dialled=False)
            await foreign.meet()
            await check_link(foreign, a)


async def test_the_alert_is_understood_by_others() -> None:
    with trio.fail_after(30):
        async with node(0, "127.0.0.1:0") as a, await open_tcp(a.tunnel.bound[0]) as socket:
            with pytest.raises(Alerted):
                await foreign_link(socket, dialled=True, token="other token").meet()
            assert await socket.receive_some() == b""
            assert not a.tunnel.links
