"""The back ends that the tests of registries are tried on. A new one joins `BACK_ENDS` and `opener`."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdk.registry import Registry, open_registry
from tests.sdk.registry.consulserver import ConsulServer
from tests.sdk.registry.etcdserver import EtcdServer
from tests.sdk.registry.registryserver import RegistryServer

Opener = Callable[[], Registry]

BACK_ENDS = ["memory", "sqlite", "mdns", "consul", pytest.param("etcd", marks=pytest.mark.peers), "service"]


@pytest.fixture(scope="session")
def running_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    program = shutil.which("etcd")
    if program is None:
        pytest.skip("etcd is not installed (Debian: etcd-server)")
    with EtcdServer(program, tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def etcd(running_etcd: EtcdServer) -> EtcdServer:
    """A running etcd that holds nothing."""
    running_etcd.wipe()
    return running_etcd


@pytest.fixture
def own_etcd(require: Callable[[str], str], tmp_path: Path) -> Iterator[EtcdServer]:
    """One that the test may kill."""
    with EtcdServer(require("etcd"), tmp_path) as server:
        yield server


@pytest.fixture
def registry_server() -> Iterator[RegistryServer]:
    """A registry that is called, and holds nothing."""
    with RegistryServer() as server:
        yield server


@pytest.fixture
def consul() -> Iterator[ConsulServer]:
    """One of ours, which the test may kill: Debian has no Consul."""
    with ConsulServer() as server:
        yield server


@pytest.fixture(params=BACK_ENDS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens one and the same store, as often as it is called."""
    if request.param == "etcd":
        server: EtcdServer = request.getfixturevalue("etcd")
        return lambda: open_registry("etcd", f"127.0.0.1:{server.port}")
    if request.param == "service":
        called: RegistryServer = request.getfixturevalue("registry_server")
        return lambda: open_registry("service", called.address)
    if request.param == "consul":
        agent: ConsulServer = request.getfixturevalue("consul")
        return lambda: open_registry("consul", f"127.0.0.1:{agent.port}")
    return lambda: open_registry(request.param, str(tmp_path / "made" / "registry.db"))
