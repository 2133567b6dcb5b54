"""The back ends that the tests of registries are tried on. A new one joins `BACK_ENDS` and `opener`."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdk.registry import Registry, open_registry
from sdk.registry.kubeaccess import find_access
from tests.sdk.registry.consulagent import ConsulAgent
from tests.sdk.registry.consulserver import ConsulServer
from tests.sdk.registry.dnsserver import DnsServer
from tests.sdk.registry.dnswriter import WrittenDns
from tests.sdk.registry.etcdserver import EtcdServer
from tests.sdk.registry.knotserver import KnotServer
from tests.sdk.registry.kubeserver import KubeServer
from tests.sdk.registry.kubewriter import WrittenKubernetes
from tests.sdk.registry.mdnsport import own_port, use_port
from tests.sdk.registry.registryserver import RegistryServer

use_port(own_port())

Opener = Callable[[], Registry]

KUBECONFIG = """
current-context: here
contexts: [{{name: here, context: {{cluster: c, user: u, namespace: shop}}}}]
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: u, user: {{tokenFile: token}}}}]
"""

BACK_ENDS = [
    "memory",
    "sqlite",
    "mdns",
    "consul",
    pytest.param("etcd", marks=pytest.mark.peers),
    "service",
    "kubernetes",
    "dns",
    pytest.param("knot", marks=pytest.mark.peers),
]
if shutil.which("consul"):
    BACK_ENDS.append(pytest.param("consul agent", marks=pytest.mark.peers))  # where there is a real one

_NO_TIME = "a pod is there until it is not: nothing renews it"
_LABELS = "a record is made of labels, which are 63 characters of ASCII at most, and says nothing of endpoints"
_NO_LEASE = "a record of DNS is there until whoever keeps the zone takes it out"
_ONE_RECORD = "the records of a name in DNS are one set of addresses, with one version and few labels"
LEFT_OUT = {
    "dns": {
        "test_what_one_registers_another_finds": _ONE_RECORD,
        "test_instances_come_together_and_versions_stay_apart": _ONE_RECORD,
        "test_labels_and_endpoints_are_those_of_the_latest_registration": _ONE_RECORD,
        "test_versions_come_and_go_each_for_itself": _ONE_RECORD,
        "test_a_record_of_100_kb_in_any_script_comes_back_as_it_was": _ONE_RECORD,
        "test_any_text_is_a_name": "a name in DNS is made of labels of 63 bytes, in any script but in no case",
        "test_a_record_that_nobody_renews_disappears_and_watchers_are_told": _NO_LEASE,
        "test_a_record_that_is_renewed_stays": _NO_LEASE,
        "test_a_time_to_live_can_be_cut_short_under_a_waiting_watcher": _NO_LEASE,
        "test_no_time_to_live_at_all_is_refused": _NO_LEASE,
    },
    "kubernetes": {
        "test_what_one_registers_another_finds": _LABELS,
        "test_labels_and_endpoints_are_those_of_the_latest_registration": _LABELS,
        "test_a_record_that_nobody_renews_disappears_and_watchers_are_told": _NO_TIME,
        "test_a_record_that_is_renewed_stays": _NO_TIME,
        "test_a_time_to_live_can_be_cut_short_under_a_waiting_watcher": _NO_TIME,
        "test_a_record_of_100_kb_in_any_script_comes_back_as_it_was": _LABELS,
        "test_any_text_is_a_name": _LABELS,
        "test_a_watcher_as_far_behind_as_the_log_is_long_misses_nothing": "a thousand instances stand in ten slices, "
        "and an instance that moves from one to another may be told as gone and back",
    },
}
"""Tests that mean nothing for a back end, each with the reason; they are not collected."""
LEFT_OUT["knot"] = LEFT_OUT["dns"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what means nothing for a back end."""
    left = [item for item in items if _left_out(item)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


def _left_out(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return False
    return item.originalname in LEFT_OUT.get(str(item.callspec.params.get("opener")), {})


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
    """A server of ours, which the test may kill: Debian has no Consul."""
    with ConsulServer(lag=0.005) as server:
        yield server


@pytest.fixture(scope="session")
def running_agent() -> Iterator[ConsulAgent]:
    program = shutil.which("consul")
    if program is None:
        pytest.skip("there is no real Consul on this machine (nor in Debian): the program consul is not installed")
    with ConsulAgent(program) as agent:
        yield agent


@pytest.fixture
def consul_agent(running_agent: ConsulAgent) -> ConsulAgent:
    """A real agent that holds nothing."""
    running_agent.wipe()
    return running_agent


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[KubeServer]:
    """An API server of ours, which the test may kill; `config` in `tmp_path` is what kubectl would have for it."""
    with KubeServer() as server:
        (tmp_path / "config").write_text(KUBECONFIG.format(port=server.port))
        (tmp_path / "token").write_text(f"{server.token}\n")
        yield server


@pytest.fixture
def kube_opener(kube: KubeServer, tmp_path: Path) -> Opener:
    """Opens what it keeps, as a registry that a test can write to."""
    config = str(tmp_path / "config")
    return lambda: WrittenKubernetes(open_registry(f"kubernetes://?kubeconfig={config}"), find_access(config))


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS is asked again at once, and may take its time to answer on a machine that has other things to do."""
    monkeypatch.setattr("sdk.registry.dnsexchange.PATIENCE", 60)
    monkeypatch.setattr("sdk.registry.dns.PATIENCE", 60)
    monkeypatch.setattr("sdk.registry.dns.SHORTEST", 0.01)
    monkeypatch.setattr("sdk.registry.dns.LONGEST", 0.05)


@pytest.fixture
def dns_server() -> Iterator[DnsServer]:
    """One that is at home in `example`, which the test may kill."""
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="session")
def running_knot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnotServer]:
    program = shutil.which("knotd")
    if program is None:
        pytest.skip("knotd is not installed (Debian: knot)")
    with KnotServer(program, tmp_path_factory.mktemp("knot")) as server:
        yield server


@pytest.fixture
def knot(running_knot: KnotServer) -> KnotServer:
    """A running server of DNS that is at home in `example` and knows nobody there."""
    running_knot.wipe()
    return running_knot


@pytest.fixture
def own_knot(require: Callable[[str], str], tmp_path: Path) -> Iterator[KnotServer]:
    """One that the test may kill."""
    with KnotServer(require("knotd"), tmp_path) as server:
        yield server


def dns_opener(server: DnsServer | KnotServer, *services: str) -> Opener:
    """Opens what it keeps of these services, as a registry that a test can write to."""
    address = f"dns://{server.address}/example?services={','.join(services)}"
    return lambda: WrittenDns(open_registry(address), server.written)


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
    if request.param == "consul agent":
        real: ConsulAgent = request.getfixturevalue("consul_agent")
        return lambda: open_registry("consul", f"127.0.0.1:{real.port}")
    if request.param in {"dns", "knot"}:
        request.getfixturevalue("eager")
        of_a_thousand = [f"service-{number:04}" for number in range(0, 1000, 50)]
        services = of_a_thousand if "thousand" in request.node.name else ["greeter", "another"]
        return dns_opener(request.getfixturevalue("dns_server" if request.param == "dns" else "knot"), *services)
    if request.param == "kubernetes":
        written: Opener = request.getfixturevalue("kube_opener")
        return written
    return lambda: open_registry(request.param, str(tmp_path / "made" / "registry.db"))
