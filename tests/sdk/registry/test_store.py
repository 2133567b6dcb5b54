"""Records in this process, on a clock that jumps. The promises to watchers are tried on every back end."""

import math

import trio
import trio.testing

from sdk.registry.records import split
from sdk.registry.store import Store
from sdk.types import Instance, Service


def a(id: str, port: int = 80) -> Service:
    return Service(name="greeter", instances=(Instance(id=id, address=f"h:{port}"),))


def ids(store: Store) -> list[str]:
    store.sweep()
    return [id for _, _, id in store.kept]


async def test_the_next_expiry_is_never_too_late(autojump_clock: trio.testing.MockClock) -> None:
    store = Store()
    assert store.next_expiry() == math.inf
    store.put(split(a("long")), 30)
    store.put(split(a("short")), 10)
    assert store.next_expiry() == trio.current_time() + 10
    await trio.sleep(10)
    assert ids(store) == ["long"]
    assert store.next_expiry() == trio.current_time() + 20
    await trio.sleep(20)
    assert ids(store) == []
    assert store.next_expiry() == math.inf


async def test_a_renewal_moves_the_expiry_and_is_no_change(autojump_clock: trio.testing.MockClock) -> None:
    store = Store()
    store.put(split(a("1")), 30)
    await trio.sleep(20)
    store.put(split(a("1")), 30)
    await trio.sleep(29)
    assert ids(store) == ["1"]
    assert store.revision == 1
    await trio.sleep(1)
    assert ids(store) == []
    assert store.revision == 2


async def test_what_changed_last_stands_last() -> None:
    store = Store()
    for service in (a("1"), a("2"), a("1", port=81), a("2")):
        store.put(split(service), 30)
    assert ids(store) == ["2", "1"]


async def test_removing_what_is_not_there_is_no_change() -> None:
    store = Store()
    store.remove(split(a("1")))
    assert store.revision == 0
