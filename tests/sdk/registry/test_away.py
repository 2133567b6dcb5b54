"""A registry that goes away under a program that follows it. A back end with a server joins `server` and `opener`."""

from collections.abc import Iterator
from random import Random
from typing import Protocol

import pytest
import trio

from mesh.local import LocalServices, RegistryState
from sdk.errors import Unavailable
from sdk.registry import open_registry
from tests.sdk.registry.conftest import Opener, dns_opener
from tests.sdk.registry.consulserver import ConsulServer
from tests.sdk.registry.dnsserver import DnsServer
from tests.sdk.registry.etcdserver import EtcdServer
from tests.sdk.registry.knotserver import KnotServer
from tests.sdk.registry.test_registry import a, next_of
from tunnel.transport.tls import Tls


class Server(Protocol):
    """A registry's server that keeps its records when it is killed."""

    port: int

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def hang(self) -> None:
        """Keeps every connection and says nothing, until `resume`."""

    def resume(self) -> None: ...

    def take_out(self, name: str, id: str) -> None:
        """Takes an instance out behind everybody's back."""

    def compact(self) -> None:
        """Keeps no changes of before."""


_SERVERS = {"etcd": "own_etcd", "consul": "consul", "kubernetes": "kube", "dns": "dns_server", "knot": "own_knot"}


@pytest.fixture(
    params=[
        pytest.param("etcd", marks=pytest.mark.peers),
        "consul",
        "kubernetes",
        "dns",
        pytest.param("knot", marks=pytest.mark.peers),
    ]
)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """With a short patience of those who ask it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sdk.registry.etcdclient.PATIENCE", 1.0)
        patch.setattr("sdk.registry.etcdclient.SILENCE", 0.5)
        patch.setattr("sdk.registry.consulagents.PATIENCE", 1.0)
        patch.setattr("sdk.registry.consulagents.WAIT", 1)
        patch.setattr("sdk.registry.kubeclient.PATIENCE", 1.0)
        patch.setattr("sdk.registry.kubernetes.SILENCE", 0.5)
        patch.setattr("sdk.registry.dnsexchange.PATIENCE", 1.0)
        patch.setattr("sdk.registry.dns.SHORTEST", 0.01)
        patch.setattr("sdk.registry.dns.LONGEST", 0.05)
        patch.setattr("mesh.returning.GRACE", 0.5)  # there may be anybody at the addresses of these tests
        yield request.getfixturevalue(_SERVERS[request.param])


@pytest.fixture
def opener(request: pytest.FixtureRequest, server: Server) -> Opener:
    if isinstance(server, EtcdServer):
        return lambda: open_registry("etcd", f"127.0.0.1:{server.port}")
    if isinstance(server, ConsulServer):
        return lambda: open_registry("consul", f"127.0.0.1:{server.port}")
    if isinstance(server, DnsServer | KnotServer):
        return dns_opener(server, "greeter")
    written: Opener = request.getfixturevalue("kube_opener")
    return written


class Follower:
    """What a node knows of its registry."""

    def __init__(self, opener: Opener) -> None:
        self._registry = opener()
        self.local = LocalServices(self._registry, random=Random(1), changed=lambda services: None, tls=Tls)

    async def run(self) -> None:
        async with self._registry:
            await self.local.run()

    async def until(self, state: RegistryState, *ids: str) -> None:
        """Waits until the node knows of these instances, and that of its registry."""
        with trio.fail_after(30):
            while (self.local.status.state, self._ids()) != (state, set(ids)):  # noqa: ASYNC110 - the state has no event
                await trio.sleep(0.01)

    def _ids(self) -> set[str]:
        return {instance.id for service in self.local.services for instance in service.instances}


async def test_what_was_known_stays_until_the_server_is_back_and_then_the_truth_is_told(
    server: Server, opener: Opener, nursery: trio.Nursery
) -> None:
    follower = Follower(opener)
    nursery.start_soon(follower.run)
    async with opener() as registry:
        await registry.register(a("stays", "goes"), ttl=60)
        await follower.until(RegistryState.CURRENT, "stays", "goes")
        server.kill()
        await follower.until(RegistryState.STALE, "stays", "goes")
        assert str(server.port) in follower.local.status.error
        for use in (registry.register(a("new"), ttl=60), registry.deregister(a("goes")), registry.list()):
            with pytest.raises(Unavailable), trio.fail_after(20):
                await use
        server.start()
        server.take_out("greeter", "goes")
        await follower.until(RegistryState.CURRENT, "stays")
        await registry.register(a("new"), ttl=60)
        await follower.until(RegistryState.CURRENT, "stays", "new")


@pytest.mark.parametrize("trouble", ["killed", "stopped"])
async def test_a_watch_that_breaks_says_so_and_then_tells_the_difference(
    server: Server, opener: Opener, trouble: str
) -> None:
    async with opener() as registry, registry.watch() as events:
        await registry.register(a("stays"))
        await registry.register(a("goes"))
        assert [(await next_of(events))[:2] for _ in range(2)] == [("create", "stays"), ("create", "goes")]
        if trouble == "killed":
            server.kill()
        else:
            server.hang()
        for _ in range(2):
            with pytest.raises(Unavailable):
                await next_of(events)
        if trouble == "killed":
            server.start()
        else:
            server.resume()
        await registry.deregister(a("goes"))
        await registry.register(a("new"))
        server.compact()
        assert [(await next_of(events))[:2] for _ in range(2)] == [("delete", "goes"), ("create", "new")]


async def test_a_server_that_does_not_answer_is_given_up_in_time_and_can_be_left_at_once(
    server: Server, opener: Opener
) -> None:
    async with opener() as registry:
        await registry.register(a("1"), ttl=60)
        server.hang()
        try:
            with trio.move_on_after(0.05) as scope:
                await registry.register(a("1"), ttl=60)
            assert scope.cancelled_caught
            with pytest.raises(Unavailable, match="within 1 s"), trio.fail_after(20):
                await registry.get("greeter")
        finally:
            server.resume()
        await registry.register(a("1"), ttl=60)
        assert await registry.get("greeter") == (a("1"),)


@pytest.mark.parametrize("server", [pytest.param("etcd", marks=pytest.mark.peers), "consul"], indirect=True)
async def test_a_server_that_lost_everything_is_told_again_by_the_next_renewal(
    server: EtcdServer | ConsulServer, opener: Opener
) -> None:
    async with opener() as registry, registry.watch() as events:
        await registry.register(a("1"), ttl=60)
        assert await next_of(events) == ("create", "1", "80")
        server.kill()
        server.forget()
        server.start()
        with trio.fail_after(20):
            while True:
                try:
                    await registry.register(a("1"), ttl=60)
                    break
                except Unavailable:  # the connection that was kept is found dead
                    pass
        assert await registry.get("greeter") == (a("1"),)


@pytest.mark.parametrize("where", ["", "127.0.0.1:2,"])
@pytest.mark.parametrize("kind", ["etcd", "consul", "service", "dns"])
async def test_where_nobody_listens_that_is_said_and_what_to_do(kind: str, where: str) -> None:
    more = "/example?services=a" if kind == "dns" else ""
    async with open_registry(f"{kind}://{where}127.0.0.1:1{more}") as registry:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1.*--registry-address \(MICRO_REGISTRY_ADDRESS\)") as said:
            await registry.list()
    assert "Errno" not in str(said.value)
