"""A node of another make: its Noise is `noiseprotocol`'s, and nothing of `tunnel` or `sdk` is in it.

Everything it knows of links is written out here once more: the prefaces, the certificate, the records, the frames. So
a mistake that both ends of a link of ours would share shows.
"""

import hashlib
import struct
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, NamedTuple, Protocol

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection

PROTOCOL = b"Noise_XXpsk3_25519_AESGCM_SHA256"
PREFACE = b"\xfemicro\x01\x01"
ALERT = b"\x01"
HELLO, OPEN, DATA, RESET, CREDIT, PING, PONG, GOAWAY, CONTROL = 1, 2, 4, 5, 7, 8, 9, 10, 13
END = 1

_HEADER = struct.Struct("!IBBI")


class Alerted(Exception):
    """The other end sent the alert: token or network name differs."""


class Pipe(Protocol):
    """What a link goes over; any trio stream is one."""

    async def send_all(self, data: bytes, /) -> None: ...

    async def receive_some(self) -> bytes | bytearray: ...


class Calls:
    """A pipe of two functions."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], receive: Callable[[], Awaitable[bytes]]) -> None:
        self._send = send
        self._receive = receive

    async def send_all(self, data: bytes) -> None:
        await self._send(data)

    async def receive_some(self) -> bytes:
        return await self._receive()


class Passport(NamedTuple):
    """The fields of a certificate."""

    public: bytes
    epoch: int
    name: str
    addresses: tuple[str, ...]
    network: str


def node_id(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:16]


@cache
def network_key(token: str, network: str) -> bytes:
    salt = b"micro/1" + network.encode()
    return hashlib.scrypt(token.encode(), salt=salt, n=2**15, r=8, p=1, maxmem=64 << 20, dklen=32)


def pack(kind: int, flags: int, stream: int, payload: bytes, *, length: int = -1) -> bytes:
    """A frame; one with another `length` lies."""
    return _HEADER.pack(len(payload) if length < 0 else length, kind, flags, stream) + payload


GREETING = pack(HELLO, 0, 0, msgpack.packb((1, "node", 100)))
"""A HELLO, which begins the frames."""


def noise_connection(*, initiator: bool, prologue: bytes, static: bytes, psk: bytes) -> Any:
    """A `NoiseConnection` that is ready for its first message; its ephemeral key is its own."""
    noise = NoiseConnection.from_name(PROTOCOL)
    noise.set_psks(psk)
    noise.set_prologue(prologue)
    noise.set_keypair_from_private_bytes(Keypair.STATIC, static)
    if initiator:
        noise.set_as_initiator()
    else:
        noise.set_as_responder()
    noise.start_handshake()
    return noise


class ForeignLink:
    """One end of a link over a pipe. `meet` first; then frames go by `say` and come by `hear`."""

    def __init__(
        self,
        pipe: Pipe,
        *,
        dialled: bool,
        token: str,
        network: str,
        name: str = "foreign",
        limits: tuple[int, int] = (1 << 20, 1 << 30),
    ) -> None:
        """`limits` are the records, and the bytes of plaintext, after which a key is renewed."""
        self.peer: Passport
        """Who the other end is, once met."""
        self.shown = b""
        """Its certificate as it came."""
        self.key = Ed25519PrivateKey.generate()
        self.static = X25519PrivateKey.generate()
        self._pipe = pipe
        self.dialled = dialled
        self._psk = network_key(token, network)
        self._passport = Passport(self.key.public_key().public_bytes_raw(), 1, name, (), network)
        self._noise: Any = None
        self._limits = limits
        self._sent, self._received = list(limits), list(limits)
        """Records and bytes until the key of each direction is renewed."""
        self.renewals = 0
        self._bytes = b""
        self._frames = b""

    @property
    def id(self) -> bytes:
        return node_id(self._passport.public)

    async def meet(self) -> None:
        """The whole handshake; raises `Alerted` when the other end does not take our token."""
        if self.dialled:
            await self._meet_as_dialler()
        else:
            await self._meet_as_acceptor()

    async def introduce(self) -> None:
        """Sends the HELLO that begins the frames."""
        await self.say_bytes(GREETING)

    async def say(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Sends one frame, in a record of its own, or two."""
        await self.say_bytes(pack(kind, flags, stream, payload))

    async def say_bytes(self, data: bytes) -> None:
        """Sends what may be frames, in as many records as it takes."""
        for start in range(0, len(data), 60_000):
            await self.send_record(self.seal(data[start : start + 60_000]))

    async def hear(self) -> tuple[int, int, int, bytes]:
        """The next frame."""
        while True:
            if len(self._frames) >= _HEADER.size:
                length, kind, flags, stream = _HEADER.unpack_from(self._frames)
                stop = _HEADER.size + length
                if len(self._frames) >= stop:
                    payload, self._frames = self._frames[_HEADER.size : stop], self._frames[stop:]
                    return kind, flags, stream, payload
            self._frames += self.open(await self._receive_message())

    async def hear_one(self, wanted: int) -> tuple[int, int, bytes]:
        """The next frame of a kind: flags, stream and payload. PINGs that come before it are answered."""
        while True:
            kind, flags, stream, payload = await self.hear()
            if kind == wanted:
                return flags, stream, payload
            if kind == PING:
                await self.say(PONG, 0, 0, payload)

    async def send_record(self, sealed: bytes) -> None:
        """Sends a record, or anything that looks like one."""
        await self._pipe.send_all(len(sealed).to_bytes(2, "big") + sealed)

    def seal(self, data: bytes) -> bytes:
        """The next record's ciphertext."""
        sealed: bytes = self._noise.encrypt(data)
        self._count(self._sent, data, self._noise.rekey_outbound_cipher)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        """The plaintext of the next record."""
        data: bytes = self._noise.decrypt(sealed)
        self._count(self._received, data, self._noise.rekey_inbound_cipher)
        return data

    async def _meet_as_dialler(self) -> None:
        await self._pipe.send_all(PREFACE)
        noise, state = self._begin(PREFACE + await self._read(len(PREFACE)))
        await self.send_record(bytes(noise.write_message()))
        assert noise.read_message(await self._receive_message()) == b""
        await self.send_record(bytes(noise.write_message(self._certificate())))
        record = await self._receive_message()
        if record == ALERT:
            raise Alerted
        self.peer = self._check(self.open(record), state)
        await self.send_record(self.seal(b""))

    async def _meet_as_acceptor(self) -> None:
        preface = await self._read(len(PREFACE))
        await self._pipe.send_all(PREFACE)
        noise, state = self._begin(preface + PREFACE)
        assert noise.read_message(await self._receive_message()) == b""
        await self.send_record(bytes(noise.write_message()))
        packed = bytes(noise.read_message(await self._receive_message()))
        await self.send_record(self.seal(self._certificate()))
        self.peer = self._check(packed, state)
        assert self.open(await self._receive_message()) == b""

    def _begin(self, prologue: bytes) -> tuple[Any, Any]:
        static = self.static.private_bytes_raw()
        self._noise = noise_connection(initiator=self.dialled, prologue=prologue, static=static, psk=self._psk)
        return self._noise, self._noise.noise_protocol.handshake_state

    def _certificate(self) -> bytes:
        body = msgpack.packb(self._passport)
        static = self.static.public_key().public_bytes_raw()
        packed: bytes = msgpack.packb((body, self.key.sign(b"micro/1 certificate\x00" + static + body)))
        return packed

    def _check(self, packed: bytes, state: Any) -> Passport:
        self.shown = packed
        body, signature = msgpack.unpackb(packed)
        public, epoch, name, addresses, network = msgpack.unpackb(body)
        static: bytes = state.rs.public_bytes
        Ed25519PublicKey.from_public_bytes(public).verify(signature, b"micro/1 certificate\x00" + static + body)
        return Passport(public, epoch, name, tuple(addresses), network)

    def _count(self, left: list[int], data: bytes, renew: Callable[[], None]) -> None:
        left[0] -= 1
        left[1] -= len(data)
        if min(left) <= 0:
            renew()
            left[:] = self._limits
            self.renewals += 1

    async def _receive_message(self) -> bytes:
        return await self._read(int.from_bytes(await self._read(2), "big"))

    async def _read(self, size: int) -> bytes:
        while len(self._bytes) < size:
            data = await self._pipe.receive_some()
            if not data:
                raise EOFError("the other end closed the connection")
            self._bytes += data
        data, self._bytes = self._bytes[:size], self._bytes[size:]
        return data
