"""From two strangers to two nodes that know each other: the machine that runs before a link.

    dialler                                   acceptor
    preface                          →
                                     ←        preface                     both are the Noise prologue
    e                                →
                                     ←        e, ee, s, es
    s, se, psk, certificate          →                                    wrong token: it does not open here
                                     ←        first record: certificate   or an alert
    first record: empty, or an alert →                                    the link is up

Each message and record follows its length, u16. No certificate goes to a peer that has not shown the token, so a
scanner learns nothing; alerts are fixed and in clear, so that both ends can tell their owners what to look at: the
token, or the list of those who are admitted.

While tokens are being changed, a node takes more than one. The dialler uses one for each connection; the acceptor
tries each of its own on the third message, for nothing in clear says which it is.
"""

import enum
from collections.abc import Container, Sequence
from typing import Final

from sdk.errors import LocalProtocolError, RemoteProtocolError

from .identity import Certificate, NodeId, NodeKey, format_id, pack_certificate, parse_certificate_untrusted
from .noise import TAG_SIZE, Cipher, Handshake, public_key

PREFACE: Final = b"\xfemicro\x01\x01"
"""Opens a link: magic, lowest and highest version spoken. The first byte tells it from HTTP and from a program's
connection."""

MAX_BYTES: Final = 4096
"""Most bytes that are taken from a peer before its handshake is done."""

_MAGIC: Final = PREFACE[:6]
_VERSION: Final = 1
_TOKEN_DIFFERS: Final = b"\x01"
_NOT_ADMITTED: Final = b"\x02"
"""Alerts: one byte in clear where a record was due, which has at least 16."""


class TokenDiffers(RemoteProtocolError):
    """The peer has another token, or another network's name."""

    def __init__(self) -> None:
        super().__init__("token or network name differs")


class NotAdmitted(RemoteProtocolError):
    """The peer has the right token, but one of the two nodes admits only some, and not the other."""


class OwnId(RemoteProtocolError):
    """The peer is this node itself, or bears its id."""

    def __init__(self) -> None:
        super().__init__("the address leads to this node itself")


class Step(enum.Enum):
    """What the peer is expected to send next."""

    PREFACE = enum.auto()
    FIRST = enum.auto()
    SECOND = enum.auto()
    THIRD = enum.auto()
    CERTIFICATE = enum.auto()
    READY = enum.auto()
    DONE = enum.auto()


class LinkHandshake:
    """One end of the handshake. Bytes go in by `receive_data` and out by `data_to_send`, until `done`.

    A dialler is `done` when it knows who answered; only `accept` queues the record that brings the link up at the
    other end. What `receive_data` raises ends the handshake; what `data_to_send` then still has, the peer should get.
    """

    def __init__(
        self,
        *,
        dialled: bool,
        key: NodeKey,
        static: bytes,
        ephemeral: bytes,
        psks: Sequence[bytes],
        certificate: Certificate,
        admitted: Container[NodeId] | None = None,
    ) -> None:
        """`static` and `ephemeral` are X25519 private keys; of `psks` a dialler uses the first, an acceptor takes any;
        `certificate` is this node's own; `admitted` are the nodes that may link with it, None for all."""
        self.peer: Certificate | None = None
        """Who the other end is, once that is proven."""
        self.greeted = False
        """Whether the other end has shown the preface of a link port, of whatever version."""
        self.rest = b""
        """What came behind the handshake: the beginning of the link's records."""
        self._dialled = dialled
        self._key = key
        self._keys = (static, ephemeral)
        self._psks = tuple(psks)
        self._public = public_key(static)
        self._certificate = certificate
        self._admitted = admitted
        self._step = Step.PREFACE
        self._noise: Handshake | None = None
        self._ciphers: tuple[Cipher, Cipher] | None = None
        self._buffer = b""
        self._taken = 0
        self._out: list[bytes] = [PREFACE] if dialled else []

    @property
    def done(self) -> bool:
        """Whether the peer is known and the ciphers are ready."""
        return self._step is Step.DONE

    @property
    def ciphers(self) -> tuple[Cipher, Cipher]:
        """To send with and to receive with."""
        if self._ciphers is None:
            raise LocalProtocolError("the handshake has not come to its ciphers")
        return self._ciphers

    def accept(self) -> None:
        """The dialler's last word: it takes the peer it found."""
        if not (self._dialled and self.done):
            raise LocalProtocolError("only a dialler that knows its peer accepts it")
        self._send(self.ciphers[0].seal(b""))

    def data_to_send(self) -> bytes:
        """All that waits to be sent."""
        out, self._out = self._out, []
        return b"".join(out)

    def receive_data(self, data: bytes) -> None:
        """Takes bytes of the peer; raises `RemoteProtocolError`, more precisely `TokenDiffers`, `NotAdmitted` or
        `OwnId` where that is why."""
        self._buffer += data
        if self._step is Step.PREFACE and not self._read_preface_untrusted():
            return
        while self._step is not Step.DONE:
            buffer = self._buffer
            length = int.from_bytes(buffer[:2], "big") if len(buffer) >= 2 else 0
            if self._taken + length > MAX_BYTES:
                raise RemoteProtocolError(f"the peer sends more than {MAX_BYTES} bytes before the handshake is done")
            if len(buffer) < 2 + length or len(buffer) < 2:
                return
            self._buffer = buffer[2 + length :]
            self._taken += 2 + length
            self._read_untrusted(buffer[2 : 2 + length])
        self.rest, self._buffer = self._buffer, b""

    def _read_preface_untrusted(self) -> bool:
        preface = self._buffer[: len(PREFACE)]
        if not _MAGIC.startswith(preface[: len(_MAGIC)]):
            raise RemoteProtocolError(f"the other end is no node's link port: it began with {preface!r}")
        if len(preface) < len(PREFACE):
            return False
        self.greeted = True
        lowest, highest = preface[6], preface[7]
        if not lowest <= _VERSION <= highest:
            raise RemoteProtocolError(
                f"the peer speaks link versions {lowest} to {highest}, this node speaks {_VERSION}"
            )
        self._buffer = self._buffer[len(PREFACE) :]
        static, ephemeral = self._keys
        self._noise = Handshake(
            initiator=self._dialled,
            prologue=PREFACE + preface if self._dialled else preface + PREFACE,
            static=static,
            ephemeral=ephemeral,
            psk=self._psks[0],
        )
        if self._dialled:
            self._send(self._noise.write_message())
            self._step = Step.SECOND
        else:
            self._out.append(PREFACE)
            self._step = Step.FIRST
        return True

    def _read_untrusted(self, message: bytes) -> None:
        noise = self._noise
        assert noise is not None
        if self._step is Step.FIRST:
            noise.read_message_untrusted(message)
            self._send(noise.write_message())
            self._step = Step.THIRD
        elif self._step is Step.SECOND:
            noise.read_message_untrusted(message)
            self._send(noise.write_message(self._packed()))
            self._ciphers = noise.split()
            self._step = Step.CERTIFICATE
        elif self._step is Step.THIRD:
            self._read_third_untrusted(noise, message)
        elif self._step is Step.CERTIFICATE:
            if message == _TOKEN_DIFFERS:
                raise TokenDiffers
            self._refuse_if_refused(message)
            self._meet(parse_certificate_untrusted(self._open_untrusted(message), noise.remote_static))
            self._step = Step.DONE
        else:
            self._refuse_if_refused(message)
            if self._open_untrusted(message):
                raise RemoteProtocolError("the peer's first record is not empty")
            self._step = Step.DONE

    def _read_third_untrusted(self, noise: Handshake, message: bytes) -> None:
        for psk in self._psks:
            trial = noise.with_psk(psk)
            try:
                payload = trial.read_message_untrusted(message)
            except RemoteProtocolError:
                continue
            noise = self._noise = trial
            break
        else:
            self._send(_TOKEN_DIFFERS)
            raise TokenDiffers
        self._ciphers = noise.split()
        certificate = parse_certificate_untrusted(payload, noise.remote_static)
        if self._admits(certificate):
            # Before the rest is judged: a node that has our id should learn that from ours.
            self._send(self._ciphers[0].seal(self._packed()))
        self._meet(certificate)
        self._step = Step.READY

    def _admits(self, certificate: Certificate) -> bool:
        # What is this node itself is told so, whoever is admitted.
        return self._admitted is None or certificate.id == self._key.id or certificate.id in self._admitted

    def _refuse_if_refused(self, message: bytes) -> None:
        if message == _NOT_ADMITTED:
            raise NotAdmitted(
                f"it does not admit this node: the id {format_id(self._key.id)} is not among those admitted there"
            )

    def _meet(self, certificate: Certificate) -> None:
        if not self._admits(certificate):
            self._send(_NOT_ADMITTED)
            raise NotAdmitted(f"its id {format_id(certificate.id)} is not among those admitted here")
        if certificate.network != self._certificate.network:
            raise TokenDiffers
        if certificate.id == self._key.id:
            raise OwnId
        self.peer = certificate

    def _open_untrusted(self, record: bytes) -> bytes:
        if len(record) < TAG_SIZE:
            raise RemoteProtocolError("the peer's first record is too short")
        return self.ciphers[1].open_untrusted(record)

    def _packed(self) -> bytes:
        return pack_certificate(self._key, self._certificate, self._public)

    def _send(self, message: bytes) -> None:
        self._out.append(len(message).to_bytes(2, "big") + message)
