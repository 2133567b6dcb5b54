"""What is etcd's own: go-micro's keys, leases, and what others do to them. The server is a real one."""

import json
import logging
from typing import Any

import pytest
import trio

from sdk.errors import BadRequest, Unavailable
from sdk.registry import Registry, open_registry
from sdk.registry.etcd import EtcdRegistry
from sdk.registry.etcdclient import EtcdClient
from sdk.registry.etcdjson import Kept
from sdk.types import Instance, Service
from tests.sdk.registry.etcdserver import EtcdServer, b64
from tests.sdk.registry.test_registry import a, next_of

pytestmark = pytest.mark.peers


def opened(server: EtcdServer) -> Registry:
    return open_registry("etcd", f"127.0.0.1:{server.port}")


def stored(server: EtcdServer, key: str) -> dict[str, Any]:
    kept: list[dict[str, Any]] = server.ask("/v3/kv/range", {"key": b64(key)}).get("kvs", [])
    return kept[0] if kept else {}


GREETER_1 = "/micro/registry/greeter/1"


async def test_a_record_stands_where_go_micro_looks_for_it_on_a_lease(etcd: EtcdServer) -> None:
    async with opened(etcd) as registry:
        await registry.register(a("1"), ttl=60)
        kept = stored(etcd, GREETER_1)
        assert int(kept["lease"]) in etcd.leases()
        await registry.register(a("1"))
        assert "lease" not in stored(etcd, GREETER_1)
        assert int(kept["lease"]) not in etcd.leases()


async def test_a_renewal_writes_nothing_and_keeps_the_lease(etcd: EtcdServer) -> None:
    async with opened(etcd) as registry:
        await registry.register(a("1", "2"), ttl=60)
        before, revision = stored(etcd, GREETER_1), etcd.revision()
        await registry.register(a("1", "2"), ttl=60)
        assert (stored(etcd, GREETER_1), etcd.revision()) == (before, revision)
        await registry.deregister(a("1", "2"))
        assert int(before["lease"]) not in etcd.leases()


@pytest.mark.parametrize("trouble", ["deleted", "overwritten", "lease revoked"])
async def test_a_renewal_brings_back_what_was_lost_behind_our_back(etcd: EtcdServer, trouble: str) -> None:
    async with opened(etcd) as registry, registry.watch() as events:
        await registry.register(a("1"), ttl=60)
        await registry.register(a("2"), ttl=60)
        assert [(await next_of(events))[:2] for _ in range(2)] == [("create", "1"), ("create", "2")]
        if trouble == "deleted":
            etcd.delete(GREETER_1)
        elif trouble == "overwritten":
            etcd.put(GREETER_1, b"rubbish")
        else:
            etcd.ask("/v3/lease/revoke", {"ID": stored(etcd, GREETER_1)["lease"]})
        assert await next_of(events) == ("delete", "1", "80")
        await registry.register(a("1"), ttl=60)
        assert await next_of(events) == ("create", "1", "80")
        assert int(stored(etcd, GREETER_1)["lease"]) in etcd.leases()
        assert await registry.get("greeter") == (a("1", "2"),)


async def test_the_good_half_works_and_the_bad_is_named_once(
    etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [b"", b"{", b"[]", b"\xff", b"1" * 10_000, b"[" * 10_000, b'{"name":"greeter","nodes":[]}']
    two = [{"id": "1", "address": "h:1"}, {"id": "2", "address": "h:2"}]
    bad.append(json.dumps({"name": "greeter", "nodes": two}).encode())
    bad.append(json.dumps({"name": "other", "nodes": two[:1]}).encode())
    for number, value in enumerate(bad):
        etcd.put(f"/micro/registry/greeter/bad{number}", value)
    good = [f"good{number}" for number in range(len(bad))]
    with caplog.at_level(logging.WARNING):
        async with opened(etcd) as registry, registry.watch() as events:
            for id in good:
                await registry.register(a(id))
                assert await next_of(events) == ("create", id, "80")
            assert await registry.list() == (a(*good),)
    for number in range(len(bad)):
        assert caplog.text.count(f"'/micro/registry/greeter/bad{number}' is skipped") == 1


async def test_a_version_that_changes_under_one_key_is_told_as_two_changes(etcd: EtcdServer) -> None:
    async with opened(etcd) as registry, registry.watch() as events:
        await registry.register(a("1"))
        assert await next_of(events) == ("create", "1", "80")
        await registry.register(a("1", version="2"))
        assert await next_of(events) == ("delete", "1", "80")
        with trio.fail_after(30):
            assert (await anext(events)).service == a("1", version="2")
        assert await registry.get("greeter") == (a("1", version="2"),)


async def test_services_whose_names_make_one_key_are_told_apart(etcd: EtcdServer) -> None:
    async with opened(etcd) as registry:
        await registry.register(a("1", name="a/b"))
        await registry.register(a("2", name="a-b"))
        assert await registry.get("a/b") == (a("1", name="a/b"),)
        assert await registry.get("a-b") == (a("2", name="a-b"),)


async def test_a_long_list_comes_in_pages(etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.registry.etcdclient.PAGE", 3)
    ids = [str(number) for number in range(10)]
    async with opened(etcd) as registry:
        await registry.register(a(*ids))
        assert await registry.get("greeter") == (a(*ids),)


async def test_a_record_larger_than_etcd_takes_is_refused_saying_so(etcd: EtcdServer) -> None:
    large = Service(name="greeter", metadata={"x": "x" * 2_000_000}, instances=(Instance(id="1", address="h:1"),))
    async with opened(etcd) as registry:
        with pytest.raises(BadRequest, match=r"too large; leave out metadata .*--max-request-bytes"):
            await registry.register(large)
        assert await registry.list() == ()


async def test_opening_it_needs_no_server_and_using_it_says_which_is_missing() -> None:
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        async with EtcdRegistry(f"etcd://user:secret@127.0.0.1:{port},127.0.0.1:{port}") as registry:
            with pytest.raises(Unavailable) as caught:
                await registry.list()
    assert str(caught.value).count(f"127.0.0.1:{port}") == 2
    assert "MICRO_REGISTRY_ADDRESS" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_log_that_is_compacted_before_the_watch_stands_is_listed_again(
    etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(etcd) as registry:
        await registry.register(a("1"))
        everything, listed = EtcdClient.everything, 0

        async def compacting(client: EtcdClient, prefix: str) -> tuple[int, list[Kept]]:
            nonlocal listed
            listed += 1
            found = await everything(client, prefix)
            if listed == 1:
                etcd.delete(GREETER_1)
                etcd.put("/other", b"")
                etcd.compact()
            return found

        monkeypatch.setattr(EtcdClient, "everything", compacting)
        async with registry.watch() as events:
            assert await next_of(events) == ("create", "1", "80")
            assert await next_of(events) == ("delete", "1", "80")
            assert listed == 2
