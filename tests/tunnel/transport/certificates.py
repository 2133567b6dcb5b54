"""Certificates to test with, of a CA that lives as long as the tests."""

from functools import cache
from pathlib import Path

import trustme

from tunnel.transport.tls import TlsConfig


@cache
def authority(name: str) -> trustme.CA:
    return trustme.CA(organization_name=name)


def ca_file(folder: Path, name: str = "trusted") -> str:
    path = folder / f"{name}-ca.pem"
    authority(name).cert_pem.write_to_path(str(path))
    return str(path)


def files(folder: Path, *hosts: str, ca: str = "", by: str = "trusted") -> TlsConfig:
    """A certificate for these hosts, issued by one CA, whose owner believes another or the system's."""
    issued = authority(by).issue_cert(*(hosts or ("127.0.0.1",)))
    name = f"{by}-{'-'.join(hosts) or 'node'}".replace("*", "any")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return TlsConfig(cert=str(cert), key=str(key), ca=ca and ca_file(folder, ca))


def believing(folder: Path, ca: str = "trusted") -> TlsConfig:
    """Who shows nothing and believes a CA."""
    return TlsConfig(ca=ca_file(folder, ca))
