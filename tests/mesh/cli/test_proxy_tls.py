"""The certificate of the proxy port, at the commands that have one."""

import signal
import ssl
from pathlib import Path
from shutil import copyfile

import pytest

from mesh.cli.proxy_tls import proxy_tls_values
from proxy.termination import ProxyTlsConfig
from sdk.netaddress import split_address
from tests.mesh.cli.conftest import NODE
from tests.processes import run, start
from tests.tunnel.transport.certificates import files

COMMANDS = (NODE, ("micro", "tunnel", "--address", "127.0.0.1:0"), ("micro", "proxy", "--address", "127.0.0.1:0"))


def test_the_flags_are_taken_out_of_all_flags() -> None:
    flags = {"proxy_tls_cert": "c", "proxy_tls_key": "k", "name": "n"}
    assert proxy_tls_values(flags) == {"proxy_tls": ProxyTlsConfig(cert="c", key="k")}
    assert flags == {"name": "n"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_cannot_be_used_is_named_by_every_command(command: tuple[str, ...], tmp_path: Path) -> None:
    tls, env = files(tmp_path), {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}
    for variables, says in (
        ({"MICRO_PROXY_TLS_CERT": "none.pem"}, "--proxy-tls-cert (MICRO_PROXY_TLS_CERT): cannot read none.pem"),
        ({"MICRO_PROXY_TLS_KEY": tls.key}, "--proxy-tls-key (MICRO_PROXY_TLS_KEY) is given without --proxy-tls-cert"),
        (
            {"MICRO_PROXY_TLS_CERT": tls.cert, "MICRO_PROXY_TLS_KEY": tls.cert},
            f"--proxy-tls-key (MICRO_PROXY_TLS_KEY): there is no private key in PEM in {tls.cert}",
        ),
    ):
        done = run(*command, env=env | variables)
        assert (done.status, done.stdout) == (2, "")
        assert says in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_sighup_reads_the_certificate_again(command: tuple[str, ...], tmp_path: Path) -> None:
    tls, other = files(tmp_path), tmp_path / "other"
    other.mkdir()
    renewed = files(other)
    env = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}
    with start(*command, "--proxy-tls-cert", tls.cert, "--proxy-tls-key", tls.key, env=env) as node:
        address = split_address(node.address("proxy").partition(",")[0])
        first = ssl.get_server_certificate(address)
        assert first in Path(tls.cert).read_text()
        copyfile(renewed.cert, tls.cert)
        node.send(signal.SIGHUP)
        node.wait_for(f"the key in {tls.key} does not belong to the certificate in {tls.cert}")
        assert ssl.get_server_certificate(address) == first
        copyfile(renewed.key, tls.key)
        node.send(signal.SIGHUP)
        node.wait_for(f"reloaded: certificates and keys are those in {tls.cert}, {tls.key}")
        assert ssl.get_server_certificate(address) in Path(renewed.cert).read_text()
