import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import LocalProtocolError, RemoteProtocolError
from tests.tunnel.bench import KEYS, certificate, handshake
from tunnel.handshake import MAX_BYTES, PREFACE, LinkHandshake, NotAdmitted, OwnId, TokenDiffers
from tunnel.identity import format_id

ANNA, BERTA, OTHER = KEYS


def talk(dialler: LinkHandshake, acceptor: LinkHandshake, *, chunk: int = 4096) -> list[bytes]:
    """Runs both until neither has anything to say; returns what went over the wire, turn by turn."""
    wire = []
    ends = [(dialler, acceptor), (acceptor, dialler)]
    while said := [(there, data) for here, there in ends if (data := here.data_to_send())]:
        for there, data in said:
            wire.append(data)
            for start in range(0, len(data), chunk):
                there.receive_data(data[start : start + chunk])
    return wire


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_two_nodes_get_to_know_each_other_whatever_the_pieces(chunk: int) -> None:
    dialler = handshake(ANNA, dialled=True, name="anna", epoch=5)
    acceptor = handshake(BERTA, dialled=False, name="berta", addresses=("b:1",))
    wire = talk(dialler, acceptor, chunk=chunk)
    assert dialler.done
    assert not acceptor.done
    dialler.accept()
    wire += talk(dialler, acceptor, chunk=chunk)
    assert acceptor.done
    assert dialler.peer == certificate(BERTA, name="berta", addresses=("b:1",))
    assert acceptor.peer == certificate(ANNA, name="anna", epoch=5)
    record = dialler.ciphers[0].seal(b"over")
    assert acceptor.ciphers[1].open_untrusted(record) == b"over"
    # Neither name nor key is there for whoever listens.
    everything = b"".join(wire)
    for secret in (b"anna", b"berta", ANNA.public, BERTA.public):
        assert secret not in everything


def test_what_follows_the_handshake_is_kept_for_the_link() -> None:
    dialler, acceptor = handshake(ANNA, dialled=True), handshake(BERTA, dialled=False)
    talk(dialler, acceptor)
    dialler.accept()
    acceptor.receive_data(dialler.data_to_send() + b"x" * 10_000)
    assert acceptor.done
    assert acceptor.rest == b"x" * 10_000


def test_with_another_psk_both_ends_know_that_the_token_differs() -> None:
    dialler, acceptor = handshake(ANNA, dialled=True), handshake(BERTA, dialled=False, psk=b"q" * 32)
    with pytest.raises(TokenDiffers):
        talk(dialler, acceptor)
    alert = acceptor.data_to_send()
    with pytest.raises(TokenDiffers, match="token or network name differs"):
        dialler.receive_data(alert)


@pytest.mark.parametrize("number", range(4))
def test_an_acceptor_takes_any_of_its_psks(number: int) -> None:
    psks = tuple(bytes([each]) * 32 for each in range(4))
    dialler, acceptor = handshake(ANNA, dialled=True, psk=psks[number]), handshake(BERTA, dialled=False, psks=psks)
    talk(dialler, acceptor)
    dialler.accept()
    talk(dialler, acceptor)
    assert acceptor.done
    record = acceptor.ciphers[0].seal(b"over")
    assert dialler.ciphers[1].open_untrusted(record) == b"over"


def test_none_of_several_psks_is_told_from_one_that_is_wrong() -> None:
    dialler = handshake(ANNA, dialled=True)
    acceptor = handshake(BERTA, dialled=False, psks=(b"q" * 32, b"r" * 32))
    with pytest.raises(TokenDiffers):
        talk(dialler, acceptor)
    assert acceptor.data_to_send() == b"\x00\x01\x01"


def test_a_peer_that_claims_another_network_is_refused() -> None:
    dialler, acceptor = handshake(ANNA, dialled=True, network="other"), handshake(BERTA, dialled=False)
    with pytest.raises(TokenDiffers):
        talk(dialler, acceptor)


def test_an_acceptor_tells_a_dialler_that_it_is_not_admitted_and_shows_no_certificate() -> None:
    dialler = handshake(ANNA, dialled=True)
    acceptor = handshake(BERTA, dialled=False, admitted={OTHER.id})
    with pytest.raises(NotAdmitted, match=f"its id {format_id(ANNA.id)} is not among those admitted here"):
        talk(dialler, acceptor)
    assert acceptor.peer is None
    alert = acceptor.data_to_send()
    assert len(alert) == 3
    with pytest.raises(NotAdmitted, match=f"the id {format_id(ANNA.id)} is not among those admitted there"):
        dialler.receive_data(alert)


def test_a_dialler_tells_an_acceptor_that_it_is_not_admitted() -> None:
    dialler = handshake(ANNA, dialled=True, admitted={OTHER.id})
    acceptor = handshake(BERTA, dialled=False)
    with pytest.raises(NotAdmitted, match=f"its id {format_id(BERTA.id)} is not among those admitted here"):
        talk(dialler, acceptor)
    assert not dialler.done
    with pytest.raises(NotAdmitted, match=f"the id {format_id(BERTA.id)} is not among those admitted there"):
        acceptor.receive_data(dialler.data_to_send())
    assert not acceptor.done


def test_whoever_is_admitted_at_both_ends_links() -> None:
    dialler = handshake(ANNA, dialled=True, admitted={BERTA.id})
    acceptor = handshake(BERTA, dialled=False, admitted={ANNA.id})
    talk(dialler, acceptor)
    dialler.accept()
    talk(dialler, acceptor)
    assert acceptor.done


def test_a_node_that_is_not_on_its_own_list_knows_itself_all_the_same() -> None:
    dialler = handshake(ANNA, dialled=True, admitted={BERTA.id})
    acceptor = handshake(ANNA, dialled=False, admitted={BERTA.id})
    with pytest.raises(OwnId):
        talk(dialler, acceptor)
    with pytest.raises(OwnId):
        dialler.receive_data(acceptor.data_to_send())


def test_a_node_that_dials_itself_finds_out_at_both_ends() -> None:
    dialler, acceptor = handshake(ANNA, dialled=True), handshake(ANNA, dialled=False)
    with pytest.raises(OwnId):
        talk(dialler, acceptor)
    with pytest.raises(OwnId):
        dialler.receive_data(acceptor.data_to_send())


def test_a_scanner_without_the_token_is_shown_no_certificate() -> None:
    scanner, acceptor = handshake(ANNA, dialled=True, psk=b"?" * 32), handshake(BERTA, dialled=False)
    with pytest.raises(TokenDiffers):
        talk(scanner, acceptor)
    assert acceptor.peer is None
    assert len(acceptor.data_to_send()) == 3


def test_a_stolen_certificate_is_of_no_use_with_another_static_key() -> None:
    class Thief(LinkHandshake):
        def _packed(self) -> bytes:
            return stolen

    stolen = handshake(ANNA, dialled=True)._packed()
    thief = Thief(
        dialled=True,
        key=KEYS[2],
        static=b"t" * 32,
        ephemeral=b"e" * 32,
        psks=(b"p" * 32,),
        certificate=certificate(KEYS[2]),
    )
    with pytest.raises(RemoteProtocolError, match="signature"):
        talk(thief, handshake(BERTA, dialled=False))


@pytest.mark.parametrize(("lowest", "highest", "spoken"), [(1, 9, True), (2, 9, False), (0, 0, False)])
def test_versions_are_compared(lowest: int, highest: int, spoken: bool) -> None:
    acceptor = handshake(BERTA, dialled=False)
    preface = PREFACE[:6] + bytes([lowest, highest])
    if spoken:
        acceptor.receive_data(preface)
    else:
        with pytest.raises(RemoteProtocolError, match=f"versions {lowest} to {highest}"):
            acceptor.receive_data(preface)


def test_a_changed_preface_is_found_out() -> None:
    dialler, acceptor = handshake(ANNA, dialled=True), handshake(BERTA, dialled=False)
    dialler.data_to_send()
    acceptor.receive_data(PREFACE[:7] + b"\x02")  # somebody on the way offers more than the dialler does
    dialler.receive_data(acceptor.data_to_send())
    with pytest.raises(RemoteProtocolError):
        acceptor.receive_data(dialler.data_to_send())


def test_a_program_at_the_wrong_port_is_told_so() -> None:
    with pytest.raises(RemoteProtocolError, match="no node's link port"):
        handshake(ANNA, dialled=True).receive_data(b"HTTP/1.1 400 Bad Request\r\n")


def test_no_peer_makes_us_keep_more_than_four_kilobytes() -> None:
    acceptor = handshake(BERTA, dialled=False)
    acceptor.receive_data(PREFACE)
    with pytest.raises(RemoteProtocolError, match=str(MAX_BYTES)):
        acceptor.receive_data((MAX_BYTES + 1).to_bytes(2, "big"))


def test_the_dialler_decides_once_and_the_acceptor_never() -> None:
    for early in (handshake(ANNA, dialled=True), handshake(ANNA, dialled=False)):
        with pytest.raises(LocalProtocolError):
            early.accept()
        with pytest.raises(LocalProtocolError):
            _ = early.ciphers


@given(st.booleans(), st.integers(0, 3), st.lists(st.binary(max_size=100)))
def test_whatever_comes_only_the_documented_error_comes_out(dialled: bool, turns: int, junk: list[bytes]) -> None:
    ends = dialler, acceptor = handshake(ANNA, dialled=True), handshake(BERTA, dialled=False)
    for _ in range(turns):
        acceptor.receive_data(dialler.data_to_send())
        dialler.receive_data(acceptor.data_to_send())
    try:
        for data in junk:
            ends[not dialled].receive_data(data)
    except RemoteProtocolError:
        pass
