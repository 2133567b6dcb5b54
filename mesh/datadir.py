"""What a node keeps from one start to the next: its key, so that it stays who it is, and its last epoch.

    node.key    the Ed25519 key, as PEM (PKCS #8): `openssl genpkey -algorithm ed25519` makes one as well
    epoch       the epoch of the last start: the next one's is higher, even if the clock was set back meanwhile
    lock        held by the node that runs

Files are made whole under another name and then renamed, so that neither a crash nor a full disk leaves half a key.
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from sdk.errors import BadRequest, Conflict
from tunnel.identity import NodeKey

WHAT: Final = "--data-dir (MICRO_DATA_DIR)"
KEY: Final = "node.key"
EPOCH: Final = "epoch"
LOCK: Final = "lock"

_END_OF_EPOCHS: Final = 1 << 62
"""Half of what a certificate may hold: from there a node could still rise above an older self of its own."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a node is, in one of its lives."""

    key: NodeKey
    """Its key, and with that its id."""
    epoch: int
    """Higher than in every life before, under the same key."""


def new_identity() -> Identity:
    """One that nobody has had, and that is gone with the process."""
    return Identity(key=NodeKey(secrets.token_bytes(32)), epoch=_now())


@contextmanager
def kept_identity(path: str, what: str = WHAT) -> Iterator[Identity]:
    """The identity kept in a directory, for one life: while the block runs nobody else has it. The directory and what
    belongs into it are made where they are missing.

    Raises `Conflict` when another process uses the directory, `BadRequest` when it, or what is in it, cannot be used;
    both begin with `what`, the flag and variable the directory came from.
    """
    directory = Path(path)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadRequest(f"{what}: cannot use {path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"{what}: another node uses {path}; give each node a directory of its own") from None
        except OSError as error:
            raise BadRequest(f"{what}: cannot lock {directory / LOCK}: {error.strerror}") from None
        try:
            identity = Identity(key=_key(directory / KEY, what), epoch=_next_epoch(directory / EPOCH, what))
        except OSError as error:
            raise BadRequest(f"{what}: cannot use {error.filename or path}: {error.strerror}") from None
        yield identity
    finally:
        os.close(descriptor)


def _key(path: Path, what: str) -> NodeKey:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                raise BadRequest(
                    f"{what}: others than its owner may use {path}; take that away with `chmod 600 {path}`"
                )
            text = file.read(4096)
    except FileNotFoundError:
        made = Ed25519PrivateKey.generate()
        _write(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return NodeKey(made.private_bytes_raw())
    try:
        key = load_pem_private_key(text, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadRequest(
            f"{what}: {path} is no Ed25519 key in PEM without a password; without the file the node makes itself a new "
            "one, and with it a new id"
        )
    return NodeKey(key.private_bytes_raw())


def _next_epoch(path: Path, what: str) -> int:
    """Above the last one and not below the clock; it is on the disk before anybody is told of it."""
    try:
        text = path.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        last = 0
    else:
        if not (text.isdecimal() and len(text) < 20 and int(text) < _END_OF_EPOCHS):
            raise BadRequest(
                f"{what}: {path} holds no epoch. Write a number of milliseconds since 1970 into it that was not used "
                "yet, or remove it if this machine's clock was never ahead"
            )
        last = int(text)
    epoch = max(last + 1, _now())
    _write(path, f"{epoch}\n".encode())
    return epoch


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)  # of a node that died just here
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
