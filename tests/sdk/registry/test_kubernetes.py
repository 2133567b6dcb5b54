"""Kubernetes as a registry: slices listed and watched, and what befalls the server."""

import logging
from pathlib import Path

import pytest
import trio
import trio.testing

from sdk.errors import BadRequest, Forbidden, Unauthorized, Unavailable
from sdk.registry import Registry, open_registry
from sdk.registry.kubeclient import PAGE
from sdk.registry.kubernetes import PAUSES, KubernetesRegistry
from sdk.types import Instance, Service
from tests.sdk.registry.conftest import Opener
from tests.sdk.registry.kubeserver import KubeServer, slice_of
from tests.sdk.registry.test_registry import a, next_of


@pytest.fixture
def registry(kube: KubeServer, tmp_path: Path) -> Registry:
    return open_registry(f"kubernetes://?kubeconfig={tmp_path / 'config'}")


def found(*ids: str) -> Service:
    return a(*ids, version="latest")


async def test_ready_pods_are_the_instances_of_a_service(kube: KubeServer, registry: Registry) -> None:
    kube.put(slice_of("s1", "2", "1", "3!"))
    kube.put(slice_of("s2", "4"))
    kube.put(slice_of("s3", "1", service="web", name="shop.web", version="2", protocol="http"))
    async with registry:
        web = Instance(id="1", address="10.0.0.1:80", metadata={"protocol": "http"})
        assert await registry.list() == (
            found("1", "2", "4"),
            Service(name="shop.web", version="2", instances=(web,)),
        )
        assert await registry.get("greeter") == (found("1", "2", "4"),)
        assert await registry.get("web") == ()
        assert registry.address == "kubernetes://shop"


async def test_a_long_list_comes_in_pages(kube: KubeServer, registry: Registry) -> None:
    for number in range(PAGE + 1):
        kube.put(slice_of(f"s{number}", f"pod-{number}"))
    async with registry:
        [service] = await registry.get("greeter")
        assert len(service.instances) == PAGE + 1


async def test_one_service_is_asked_for_by_its_labels_and_not_sought_in_all(kube: KubeServer, tmp_path: Path) -> None:
    kube.put(slice_of("s1", "1"))
    kube.put(slice_of("s2", "2", service="other", name="greeter"))
    kube.put(slice_of("s3", "3", service="greeter", name="another"))
    kube.put(slice_of("s4", "4", service="other"))
    async with open_registry(f"kubernetes://?kubeconfig={tmp_path / 'config'}&selector=micro.mu/name") as registry:
        assert await registry.get("greeter") == (found("2"),)
    async with open_registry(f"kubernetes://?kubeconfig={tmp_path / 'config'}") as registry:
        assert await registry.get("greeter") == (found("1", "2"),)
        assert all("greeter" in asked.query["labelSelector"] for asked in kube.asked)
        before = len(kube.asked)
        for nobody in ("", "a/b", "greeter,x", "-", "x" * 64):
            assert await registry.get(nobody) == ()
        assert len(kube.asked) == before


async def test_a_thousand_pods_of_one_service_stand_in_ten_slices(kube: KubeServer, kube_opener: Opener) -> None:
    ids = [f"{number:04}" for number in range(1000)]
    async with kube_opener() as ours, kube_opener() as theirs, theirs.watch() as events:
        await ours.register(a(*ids))
        assert len(kube.slices) == 10
        assert sorted([await next_of(events) for _ in ids]) == [("create", id, "80") for id in ids]
        await ours.deregister(a(*ids[1:]))
        assert sorted([await next_of(events) for _ in ids[1:]]) == [("delete", id, "80") for id in ids[1:]]
        assert await theirs.list() == (a("0000"),)


async def test_a_slice_of_100_kb_with_words_of_any_script_is_read(kube: KubeServer, registry: Registry) -> None:
    item = slice_of("s1", *map(str, range(1000)))
    item["metadata"]["annotations"] = {"größe": "".join(map(chr, range(0x4E00, 0x9A00))) * 2}
    async with registry, registry.watch() as events:
        kube.put(item)
        assert {(await next_of(events))[1] for _ in range(1000)} == set(map(str, range(1000)))
        [service] = await registry.list()
        assert len(service.instances) == 1000


@pytest.mark.usefixtures("kube")
async def test_a_long_list_is_read_a_bit_at_a_time(tmp_path: Path, nursery: trio.Nursery) -> None:
    registry = KubernetesRegistry(f"kubernetes://?kubeconfig={tmp_path / 'config'}")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    nursery.start_soon(others)
    slices = await registry.read_all([slice_of(f"s{number}", str(number)) for number in range(1000)])
    nursery.cancel_scope.cancel()
    assert len(slices.records()) == 1000
    assert turns >= 5  # of ten pauses: which of two tasks goes first is a matter of chance


async def test_a_watcher_is_told_what_is_there_and_then_each_change_in_order(
    kube: KubeServer, registry: Registry
) -> None:
    kube.put(slice_of("s1", "1"))
    async with registry, registry.watch() as events:
        kube.put(slice_of("s1", "1", "2"))
        kube.put(slice_of("s1", "1!", "2", port=81))
        kube.delete("s1")
        assert [await next_of(events) for _ in range(5)] == [
            ("create", "1", "80"),
            ("create", "2", "80"),
            ("delete", "1", "80"),
            ("update", "2", "81"),
            ("delete", "2", "81"),
        ]


async def test_an_instance_that_moves_to_another_slice_stays(kube: KubeServer, registry: Registry) -> None:
    kube.put(slice_of("s1", "1"))
    async with registry, registry.watch() as events:
        kube.put(slice_of("s2", "1"))
        kube.delete("s1")
        kube.put(slice_of("s3", "2"))
        assert [await next_of(events) for _ in range(2)] == [("create", "1", "80"), ("create", "2", "80")]


async def test_a_watch_that_ends_goes_on_where_it_was(kube: KubeServer, registry: Registry) -> None:
    async with registry, registry.watch() as events:
        kube.put(slice_of("s1", "1"))
        assert await next_of(events) == ("create", "1", "80")
        kube.bookmark()
        kube.end_watches()
        kube.put(slice_of("s2", "2"))
        assert await next_of(events) == ("create", "2", "80")
        lists = [asked for asked in kube.asked if "watch" not in asked.query]
        assert len(lists) == 1


async def test_a_bookmark_moves_the_version_on(kube: KubeServer, registry: Registry) -> None:
    async with registry, registry.watch() as events, trio.open_nursery() as nursery:

        async def put_once_watched_again() -> None:
            await trio.to_thread.run_sync(kube.wait_for_watches, 2)
            kube.put(slice_of("s1", "1"))

        kube.bookmark()
        kube.oldest = kube.version
        kube.end_watches()
        nursery.start_soon(put_once_watched_again)
        assert await next_of(events) == ("create", "1", "80")
        assert len([asked for asked in kube.asked if "watch" not in asked.query]) == 1


@pytest.mark.parametrize("how", ["answered", "told"])
async def test_a_version_that_is_no_longer_kept_is_listed_again(kube: KubeServer, registry: Registry, how: str) -> None:
    kube.put(slice_of("s1", "stays", "goes"))
    async with registry, registry.watch() as events:
        assert {(await next_of(events))[1] for _ in range(2)} == {"stays", "goes"}
        if how == "answered":
            kube.slices["s1"] = slice_of("s1", "stays", "new")
            kube.compact()
            kube.end_watches()
        else:
            kube.slices["s1"] = slice_of("s1", "stays", "new")
            kube.break_watches(410)
        assert [await next_of(events) for _ in range(2)] == [("delete", "goes", "80"), ("create", "new", "80")]


async def test_a_server_that_goes_and_comes_back_is_caught_up_with(kube: KubeServer, registry: Registry) -> None:
    kube.put(slice_of("s1", "1"))
    async with registry, registry.watch() as events:
        assert await next_of(events) == ("create", "1", "80")
        kube.kill()
        for _ in range(2):
            with pytest.raises(Unavailable, match=str(kube.port)):
                await next_of(events)
        kube.put(slice_of("s1", "2"))
        kube.start()
        assert [await next_of(events) for _ in range(2)] == [("delete", "1", "80"), ("create", "2", "80")]


async def test_a_server_that_cannot_go_on_is_asked_again(kube: KubeServer, registry: Registry) -> None:
    async with registry, registry.watch() as events:
        kube.break_watches(500)
        with pytest.raises(Unavailable, match="as asked"):
            await next_of(events)
        kube.put(slice_of("s1", "1"))
        assert await next_of(events) == ("create", "1", "80")


async def test_a_wait_that_was_cancelled_loses_nothing(kube: KubeServer, registry: Registry) -> None:
    async with registry, registry.watch() as events:
        for number in range(20):
            with trio.move_on_after(0.002):
                await anext(events)
                pytest.fail("there is nothing to be told")
            kube.put(slice_of(f"s{number}", str(number)))
            assert await next_of(events) == ("create", str(number), "80")


async def test_a_slice_that_cannot_be_read_is_named_once_and_spoils_nothing(
    kube: KubeServer, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    kube.put(slice_of("good", "1"))
    kube.put(slice_of("bad", "2", port=0))
    with caplog.at_level(logging.WARNING):
        async with registry, registry.watch() as events:
            assert await registry.list() == (found("1"),)
            assert await next_of(events) == ("create", "1", "80")
            kube.put(slice_of("good", "1", port=0))
            assert await next_of(events) == ("delete", "1", "80")
    assert [record for record in caplog.messages if "shop/bad" in record] == caplog.messages[:1]


async def test_half_of_what_a_list_and_a_watch_say_may_be_garbage(
    kube: KubeServer, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(10):
        kube.put(slice_of(f"good-{number}", str(number)))
        kube.slices[f"bad-{number}"] = {**slice_of(f"bad-{number}", f"1{number}"), "endpoints": {"number": number}}
    kube.slices["nameless"] = {"metadata": {"labels": {"kubernetes.io/service-name": "greeter"}}}
    with caplog.at_level(logging.WARNING):
        async with registry, registry.watch() as events:
            assert [await next_of(events) for _ in range(10)] == [("create", str(id), "80") for id in range(10)]
            for kind in ("MODIFIED", "DELETED"):
                kube.say({"type": kind, "object": {"metadata": {"resourceVersion": str(kube.version), "name": 7}}})
            half = slice_of("good-0", "0", "new")
            half["endpoints"] += [{"addresses": []}, {"addresses": []}]
            kube.put(half)
            assert await next_of(events) == ("create", "new", "80")
            assert await registry.list() == (found(*map(str, range(10)), "new"),)
            assert len([asked for asked in kube.asked if "watch" in asked.query]) == 1
    assert [sum(f"shop/bad-{number} " in said for said in caplog.messages) for number in range(10)] == [1] * 10
    assert len([said for said in caplog.messages if "without a name" in said]) == 1
    assert len([said for said in caplog.messages if "endpoints of the EndpointSlice shop/good-0 are" in said]) == 1
    assert len(caplog.messages) == 12


async def test_a_server_that_says_nothing_but_nonsense_is_asked_again_and_not_without_a_pause(
    kube: KubeServer, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    async def slept(seconds: float) -> None:
        pauses.append(seconds)
        await trio.lowlevel.checkpoint()

    async def put_once_it_is_over() -> None:
        await trio.to_thread.run_sync(kube.wait_for_watches, 5)
        kube.put(slice_of("s1", "1"))

    async with registry, registry.watch() as events, trio.open_nursery() as nursery:
        monkeypatch.setattr("sdk.registry.kubernetes.trio.sleep", slept)
        kube.nonsense = 3
        kube.end_watches()
        nursery.start_soon(put_once_it_is_over)
        assert await next_of(events) == ("create", "1", "80")
    assert pauses == list(PAUSES[1:])


async def test_a_watch_in_which_nothing_is_heard_is_begun_again_where_it_was(
    kube: KubeServer, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.registry.kubernetes.SILENCE", 0.1)
    async with registry, registry.watch() as events, trio.open_nursery() as nursery:

        async def put_once_watched_again() -> None:
            await trio.to_thread.run_sync(kube.wait_for_watches, 3)
            kube.put(slice_of("s1", "1"))

        nursery.start_soon(put_once_watched_again)
        assert await next_of(events) == ("create", "1", "80")
        assert len([asked for asked in kube.asked if "watch" not in asked.query]) == 1


async def test_a_server_that_hangs_is_found_out_by_asking_and_followed_on_where_it_was(
    kube: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.registry.kubernetes.QUIET", 0.05)
    registry = KubernetesRegistry(f"kubernetes://?kubeconfig={tmp_path / 'config'}")
    async with registry, registry.watch() as events:
        with trio.move_on_after(0.5):  # long enough for several questions, which are answered
            await anext(events)
        kube.hang()
        registry.client._http.patience = 0.2
        with trio.fail_after(30), pytest.raises(Unavailable, match="no answer to GET /version within"):
            await anext(events)
        kube.resume()
        kube.put(slice_of("s1", "1"))
        registry.client._http.patience = 5.0
        assert await next_of(events) == ("create", "1", "80")
        assert kube.watches == 2
        assert len([asked for asked in kube.asked if "watch" not in asked.query and asked.path != "/version"]) == 1


async def test_a_server_that_was_set_back_to_an_older_state_is_listed_again(
    kube: KubeServer, registry: Registry
) -> None:
    kube.put(slice_of("s1", "1"))
    async with registry, registry.watch() as events:
        assert await next_of(events) == ("create", "1", "80")
        kube.version = kube.oldest = 50
        kube.log.clear()
        kube.slices = {"s1": slice_of("s1", "2")}
        kube.end_watches()
        with pytest.raises(Unavailable, match="504"):
            await next_of(events)
        assert [await next_of(events) for _ in range(2)] == [("delete", "1", "80"), ("create", "2", "80")]


async def test_nothing_depends_on_the_clock_of_another_host(kube: KubeServer, registry: Registry) -> None:
    kube.date = "Thu, 01 Jan 1970 00:00:00 GMT"
    item = slice_of("s1", "1")
    item["metadata"] |= {
        "creationTimestamp": "2199-01-01T00:00:00Z",
        "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2199-01-01T00:00:00Z"},
    }
    kube.put(item)
    async with registry, registry.watch() as events:
        assert await next_of(events) == ("create", "1", "80")
        later = slice_of("s1", "1", port=81)
        later["metadata"]["creationTimestamp"] = "1970-01-01T00:00:00Z"
        kube.put(later)
        assert await next_of(events) == ("update", "1", "81")
        kube.delete("s1")
        assert await next_of(events) == ("delete", "1", "81")


async def test_a_token_that_was_replaced_is_read_again(kube: KubeServer, registry: Registry, tmp_path: Path) -> None:
    async with registry:
        await registry.list()
        kube.token = "an0ther"
        with pytest.raises(Unauthorized) as caught:
            await registry.list()
        assert "t0ken" not in str(caught.value)
        (tmp_path / "token").write_text("an0ther")
        assert await registry.list() == ()


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_an_account_that_may_not_read_is_told_what_it_needs(
    kube: KubeServer, registry: Registry, tmp_path: Path, verb: str
) -> None:
    kube.refused = {verb}
    async with registry:
        with pytest.raises(Forbidden) as caught:
            async with registry.watch():
                pytest.fail("it may not be watched")
        said = str(caught.value)
        assert f"the account of {tmp_path / 'config'} {verb} endpointslices of discovery.k8s.io" in said
        assert "in the namespace shop: bind it to a Role with the verbs list and watch" in said
    async with open_registry("kubernetes", f"kubernetes://*?kubeconfig={tmp_path / 'config'}") as everywhere:
        with pytest.raises(
            Forbidden, match="in all namespaces: bind it to a ClusterRole with the verbs list and watch"
        ):
            await everywhere.list()


async def test_an_account_that_may_not_watch_any_more_is_told_and_knows_what_it_knew(
    kube: KubeServer, registry: Registry
) -> None:
    kube.put(slice_of("s1", "1"))
    async with registry, registry.watch() as events:
        assert await next_of(events) == ("create", "1", "80")
        kube.refused = {"watch"}
        kube.end_watches()
        with pytest.raises(Forbidden, match="watch endpointslices"):
            await next_of(events)
        kube.refused = set()
        kube.put(slice_of("s1", "1", "2"))
        assert await next_of(events) == ("create", "2", "80")


async def test_nothing_is_registered_by_hand(registry: Registry) -> None:
    async with registry:
        for change in (registry.register, registry.deregister):
            with pytest.raises(Forbidden, match="Kubernetes registers pods by itself"):
                await change(a("1"))


async def test_a_registry_that_is_closed_says_so_to_whoever_waits(kube: KubeServer, registry: Registry) -> None:
    for use in (registry.list(), registry.register(a("1")), registry.deregister(a("1"))):
        with pytest.raises(trio.ClosedResourceError):
            await use
    await registry.__aenter__()
    async with registry.watch() as events, trio.open_nursery() as nursery:

        async def close_once_it_waits() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await registry.__aexit__(None, None, None)

        nursery.start_soon(close_once_it_waits)
        with pytest.raises(trio.ClosedResourceError):
            await next_of(events)


@pytest.mark.parametrize("address", ["kubernetes://shop/more", "kubernetes://shop?color=red"])
def test_an_address_that_is_not_known_is_refused(address: str) -> None:
    with pytest.raises(BadRequest, match="NAMESPACE"):
        open_registry("kubernetes", address)
