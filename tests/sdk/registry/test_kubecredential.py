"""Credentials that a program makes, read: tokens, certificates, their end, and what is none of these."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from sdk.errors import RemoteProtocolError
from sdk.registry.kubecredential import VERSIONS, Credential, exec_info, parse_credential_untrusted


def printed(version: str = VERSIONS[0], **status: Any) -> bytes:
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status}).encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_token_or_a_certificate_is_read_and_until_when_it_is_good(version: str) -> None:
    token = parse_credential_untrusted(
        printed(version, token="t0ken", expirationTimestamp="2026-01-02T05:04:05.123456789+02:00"), version
    )
    assert token == Credential(token="t0ken", expires=datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC))
    assert token.headers == {"authorization": "Bearer t0ken"}
    shown = parse_credential_untrusted(
        printed(version, clientCertificateData="c3rt", clientKeyData="k3y", expirationTimestamp=None), version
    )
    assert shown == Credential(certificate="c3rt", key="k3y")
    assert shown.headers == {}
    assert not [secret for secret in ("t0ken", "c3rt", "k3y") if secret in repr((token, shown))]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"s3cret", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'"s3cret"', "no ExecCredential"),
        (b'{"kind":"s3cret"}', "no ExecCredential"),
        (printed(VERSIONS[1], token="s3cret"), "not of client.authentication.k8s.io/v1$"),
        (json.dumps({"apiVersion": VERSIONS[0], "kind": "ExecCredential"}).encode(), "no status"),
        (printed(), "neither a token"),
        (printed(token=7), "token is not text"),
        (printed(token="s3cret\r\n"), "no token"),
        (printed(clientCertificateData="s3cret"), "one without the other"),
        (printed(token="s3cret", expirationTimestamp="soon"), "RFC 3339"),
        (printed(token="s3cret", expirationTimestamp="2026-01-02T05:04:05"), "RFC 3339"),
        (printed(token="s3cret", expirationTimestamp="0001-01-01T00:00:00+23:00"), "RFC 3339"),
    ],
)
def test_what_is_no_credential_says_why_and_shows_nothing(data: bytes, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says) as caught:
        parse_credential_untrusted(data, VERSIONS[0])
    assert "s3cret" not in str(caught.value)


def test_a_program_is_told_that_nobody_sits_at_a_terminal_and_of_the_cluster_only_if_it_is_to_know() -> None:
    assert json.loads(exec_info(VERSIONS[0], None)) == {
        "apiVersion": VERSIONS[0],
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    assert json.loads(exec_info(VERSIONS[0], {"server": "https://h"}))["spec"]["cluster"] == {"server": "https://h"}
