"""Another implementation of Noise, and a node written anew on top of it, understand ours."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from noise.exceptions import NoiseInvalidMessage

from sdk.rawsocket import bound_address, listen_tcp, open_tcp, take_over
from tests.tunnel.bench import node
from tests.tunnel.foreign import Alerted, noise_connection
from tests.tunnel.meeting import SOON, check_link, foreign_link
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


@pytest.mark.usefixtures("soon_renewed")
async def test_a_node_of_another_make_links_up_with_us() -> None:
    with trio.fail_after(30):
        async with node(0, "127.0.0.1:0") as a, await open_tcp(a.tunnel.bound[0]) as socket:
            foreign = foreign_link(socket, dialled=True, limits=SOON)
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
            foreign = foreign_link(socket, dialled=False, limits=SOON)
            await foreign.meet()
            await check_link(foreign, a)


async def test_the_alert_is_understood_by_others() -> None:
    with trio.fail_after(30):
        async with node(0, "127.0.0.1:0") as a, await open_tcp(a.tunnel.bound[0]) as socket:
            with pytest.raises(Alerted):
                await foreign_link(socket, dialled=True, token="other token").meet()
            assert await socket.receive_some() == b""
            assert not a.tunnel.links
