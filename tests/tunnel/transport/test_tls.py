import re
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from sdk.errors import BadRequest
from tests.tunnel.transport.certificates import authority, believing, files
from tunnel.transport.tls import Tls, TlsConfig


def test_without_files_tls_is_dialled_by_the_systems_cas_and_not_accepted() -> None:
    tls = Tls()
    assert tls.accepting is None
    assert (tls.dialling.verify_mode, tls.dialling.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert tls.dialling.minimum_version is ssl.TLSVersion.TLSv1_2


def test_with_a_certificate_tls_is_accepted_from_anybody(tmp_path: Path) -> None:
    tls = Tls(files(tmp_path))
    assert tls.accepting is not None
    assert tls.accepting.verify_mode is ssl.CERT_NONE
    assert tls.accepting.minimum_version is ssl.TLSVersion.TLSv1_2


def test_with_a_ca_as_well_only_from_who_shows_a_certificate_of_it(tmp_path: Path) -> None:
    tls = Tls(files(tmp_path, ca="trusted"))
    assert tls.accepting is not None
    assert tls.accepting.verify_mode is ssl.CERT_REQUIRED
    [believed] = tls.accepting.get_ca_certs()
    assert tls.dialling.get_ca_certs() == [believed]


def test_key_and_certificate_may_stand_in_one_file(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(authority("trusted").issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes())
    assert Tls(TlsConfig(cert=str(both))).accepting is not None


def test_a_key_alone_is_refused() -> None:
    with pytest.raises(BadRequest, match=re.escape("--tls-key (MICRO_TLS_KEY) is given without --tls-cert")):
        TlsConfig(key="node.key")


@pytest.mark.parametrize(
    ("flag", "variable"), [("ca", "MICRO_TLS_CA"), ("cert", "MICRO_TLS_CERT"), ("key", "MICRO_TLS_KEY")]
)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file or directory"),
        (b"", "there is no"),
        (b"nonsense", "there is no"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "there is no"),
    ],
)
def test_a_bad_file_is_said_with_its_flag(
    tmp_path: Path, flag: str, variable: str, content: bytes | None, reason: str
) -> None:
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_bytes(content)
    good = files(tmp_path, ca="trusted")
    paths = {"ca": good.ca, "cert": good.cert, "key": good.key, flag: str(bad)}
    with pytest.raises(BadRequest, match=re.escape(f"--tls-{flag} ({variable})")) as caught:
        Tls(TlsConfig(**paths))
    assert reason in str(caught.value)
    assert str(bad) in str(caught.value)


def test_a_bad_ca_file_is_said_at_the_start_by_a_node_that_only_dials(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="--tls-ca"):
        Tls(TlsConfig(ca=str(tmp_path / "none.pem")))


def test_the_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    one, other = files(tmp_path, "one.example"), files(tmp_path, "other.example")
    with pytest.raises(BadRequest, match=r"--tls-key .*does not belong to the certificate"):
        Tls(TlsConfig(cert=one.cert, key=other.key))


def test_a_certificate_without_any_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"--tls-cert .*no private key.*--tls-key .*may name another file"):
        Tls(TlsConfig(cert=files(tmp_path).cert))


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    config = files(tmp_path)
    key = load_pem_private_key(Path(config.key).read_bytes(), None)
    Path(config.key).write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(BadRequest, match=r"--tls-key .*has a passphrase"):
        Tls(config)


def test_who_only_dials_loads_the_ca_it_was_given(tmp_path: Path) -> None:
    assert len(Tls(believing(tmp_path)).dialling.get_ca_certs()) == 1
