"""Kubernetes as it is: slices are made, changed and deleted by its interface, and seen.

It runs on the test server, and on the cluster that kubectl would use here, or whose pod this is, where there is one.
There it is a test with a peer. Where there is none it is a skip that is named, in CI as well: no package brings one.
What it makes has a name of its own, stands in the account's namespace, and is taken away whatever happens.
"""

import secrets

import pytest
import trio

from sdk.errors import BadRequest, Unavailable
from sdk.registry import open_registry
from sdk.registry.kubeaccess import find_access
from tests.sdk.registry.kubewriter import WrittenKubernetes
from tests.sdk.registry.test_registry import a, next_of

try:
    find_access()
    MISSING = ""
except BadRequest as error:
    MISSING = str(error)


@pytest.fixture(params=["ours", pytest.param("at hand", marks=() if MISSING else pytest.mark.peers)])
def kubeconfig(request: pytest.FixtureRequest) -> str:
    """Empty for what is at hand."""
    if request.param == "ours":
        request.getfixturevalue("kube")
        return str(request.getfixturevalue("tmp_path") / "config")
    if MISSING:
        pytest.skip(f"no Kubernetes is at hand: {MISSING}")
    try:
        trio.run(_look)
    except Unavailable as error:
        pytest.skip(f"the Kubernetes at hand cannot be used: {error.detail}")
    return ""


async def _look() -> None:
    async with open_registry("kubernetes") as registry:
        await registry.list()


async def test_what_controllers_do_is_seen(kubeconfig: str) -> None:
    name = f"micro-test-{secrets.token_hex(4)}"
    options = [f"selector=kubernetes.io/service-name={name}", *([f"kubeconfig={kubeconfig}"] if kubeconfig else [])]
    cluster = WrittenKubernetes(
        open_registry("kubernetes", f"kubernetes://?{'&'.join(options)}"), find_access(kubeconfig)
    )
    both, moved = a("1", "2", name=name), a("1", name=name, port=81)
    async with cluster, cluster.watch() as events:
        try:
            await cluster.register(both)
            assert {await next_of(events) for _ in range(2)} == {("create", "1", "80"), ("create", "2", "80")}
            assert await cluster.get(name) == (both,)
            await cluster.register(moved)
            assert await next_of(events) == ("update", "1", "81")
            await cluster.deregister(a("2", name=name))
            assert await next_of(events) == ("delete", "2", "80")
            assert await cluster.get(name) == (moved,)
        finally:
            with trio.move_on_after(30, shield=True):
                await cluster.deregister(both)
        assert await next_of(events) == ("delete", "1", "81")
