import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mesh.datadir import kept_identity, new_identity
from sdk.errors import BadRequest, Conflict


def start(path: Path) -> tuple[bytes, int]:
    with kept_identity(str(path)) as identity:
        return identity.key.id, identity.epoch


def test_a_node_is_the_same_after_a_new_start_in_a_later_epoch(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there"
    id, first = start(directory)
    lives = [start(directory) for _ in range(3)]
    assert {each for each, _ in lives} == {id}
    epochs = [first, *(epoch for _, epoch in lives)]
    assert epochs == sorted(set(epochs))
    assert start(tmp_path / "other")[0] != id


def test_nobody_but_the_owner_may_read_what_was_made(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        start(tmp_path / "data")
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert modes == {"node.key": 0o600, "epoch": 0o600, "lock": 0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_the_epoch_rises_even_when_the_clock_was_ahead(tmp_path: Path) -> None:
    (tmp_path / "epoch").write_text("4000000000000\n")  # in the year 2096
    assert [start(tmp_path)[1], start(tmp_path)[1]] == [4_000_000_000_001, 4_000_000_000_002]
    (tmp_path / "epoch").write_text("17")
    assert 4_000_000_000_000 > start(tmp_path)[1] > 1_700_000_000_000


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e9", "9" * 19, "9" * 40, "\xb2", "12\n13"])
def test_an_epoch_that_is_none_is_refused_and_nothing_is_guessed(tmp_path: Path, text: str) -> None:
    (tmp_path / "epoch").write_text(text, encoding="latin-1")
    with pytest.raises(BadRequest, match=r"--data-dir \(MICRO_DATA_DIR\): .*/epoch holds no epoch"):
        start(tmp_path)


def test_two_nodes_cannot_use_one_directory(tmp_path: Path) -> None:
    with (
        kept_identity(str(tmp_path)),
        pytest.raises(Conflict, match=r"--data-dir \(MICRO_DATA_DIR\): another node uses"),
    ):
        start(tmp_path)
    start(tmp_path)


def test_a_node_that_was_killed_leaves_no_lock_behind(tmp_path: Path) -> None:
    program = f"""
import os
from mesh.datadir import kept_identity
with kept_identity({str(tmp_path)!r}):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert (tmp_path / "epoch").exists()
    start(tmp_path)


def test_what_a_crash_left_half_written_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "node.key.new").write_text("-----BEGIN PRIV")
    (tmp_path / "epoch.new").write_text("12")
    id, _ = start(tmp_path)
    assert start(tmp_path)[0] == id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch", "lock", "node.key"]


def test_a_key_of_ones_own_is_taken(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    file = tmp_path / "node.key"
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with kept_identity(str(tmp_path)) as identity:
        assert identity.key.public == key.public_key().public_bytes_raw()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    start(tmp_path)
    (tmp_path / "node.key").chmod(mode)
    with pytest.raises(BadRequest, match=r"others than its owner may use .*node\.key; .*chmod 600"):
        start(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"k" * 32,
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw")),
        generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
    ids=["empty", "raw", "broken", "encrypted", "of another kind"],
)
def test_what_is_no_key_is_refused_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "node.key"
    file.touch(mode=0o600)
    file.write_bytes(content)
    with pytest.raises(BadRequest, match="is no Ed25519 key"):
        start(tmp_path)
    assert file.read_bytes() == content


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest, match=r"--data-dir \(MICRO_DATA_DIR\): cannot use .*/file: File exists"):
        start(tmp_path / "file")
    (tmp_path / "node.key").mkdir()
    with pytest.raises(BadRequest, match=r"cannot use .*node\.key: Is a directory"):
        start(tmp_path)


def test_without_a_directory_every_identity_is_new() -> None:
    assert new_identity().key.id != new_identity().key.id
    assert new_identity().epoch > 1_700_000_000_000
