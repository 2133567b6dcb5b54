"""What every registry promises, tried on every back end."""

import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from sdk.errors import BadRequest
from sdk.registry import Action, Event, Registry, open_registry
from sdk.registry.records import LOG_LENGTH
from sdk.types import Endpoint, Instance, Service, Value
from tests.sdk.registry.conftest import LEFT_OUT

Opener = Callable[[], Registry]

with_a_short_log = pytest.mark.parametrize("opener", ["memory", "sqlite", "mdns"], indirect=True)
"""For back ends that keep the last `LOG_LENGTH` changes."""
with_every_change = pytest.mark.parametrize(
    "opener",
    ["memory", "sqlite", "mdns", pytest.param("etcd", marks=pytest.mark.peers), "service", "kubernetes"],
    indirect=True,
)
"""For back ends that keep changes. Consul tells states: what came and went between two of them is not told."""

with_a_store = pytest.mark.parametrize(
    "opener",
    ["memory", "sqlite", "consul", pytest.param("etcd", marks=pytest.mark.peers), "service", "kubernetes", "dns"],
    indirect=True,
)
"""For back ends that keep records while no program is there."""


def a(*ids: str, name: str = "greeter", version: str = "1", port: int = 80) -> Service:
    return Service(
        name=name, version=version, instances=tuple(Instance(id=id, address=f"10.0.0.1:{port}") for id in ids)
    )


def told(event: Event) -> tuple[str, str, str]:
    [instance] = event.service.instances
    return event.action.value, instance.id, instance.address.rpartition(":")[2]


async def next_of(events: AsyncIterator[Event]) -> tuple[str, str, str]:
    with trio.fail_after(30):
        return told(await anext(events))


async def test_what_one_registers_another_finds(opener: Opener) -> None:
    service = Service(
        name="greeter",
        version="1.2",
        metadata={"owner": "Zoë"},
        endpoints=(
            Endpoint(
                name="Greeter.Hello",
                request=Value(name="Request", type="Request", values=(Value(name="name", type="str"),)),
                metadata={"stream": "true"},
            ),
        ),
        instances=(Instance(id="greeter-1", address="[::1]:8080", metadata={"native": "1"}),),
    )
    async with opener() as ours, opener() as theirs:
        await ours.register(service)
        assert await theirs.get("greeter") == (service,)
        assert await theirs.list() == (service,)


async def test_an_unknown_service_is_an_empty_answer(opener: Opener) -> None:
    async with opener() as registry:
        await registry.register(a("1"))
        assert await registry.get("greete") == ()
        assert await registry.get("Greeter") == ()


async def test_instances_come_together_and_versions_stay_apart(opener: Opener) -> None:
    async with opener() as registry:
        for service in (a("3", version="2"), a("2"), a("1"), a("9", name="another")):
            await registry.register(service)
        assert await registry.get("greeter") == (a("1", "2"), a("3", version="2"))
        assert await registry.list() == (a("9", name="another"), a("1", "2"), a("3", version="2"))


async def test_labels_and_endpoints_are_those_of_the_latest_registration(opener: Opener) -> None:
    def labelled(id: str, label: str) -> Service:
        return Service(
            name="greeter",
            metadata={"label": label},
            endpoints=(Endpoint(name=label),),
            instances=(Instance(id=id, address="h:1"),),
        )

    async with opener() as registry:
        await registry.register(labelled("1", "old"))
        await registry.register(labelled("2", "older"))
        await registry.register(labelled("1", "new"))
        [service] = await registry.get("greeter")
        assert service.metadata == {"label": "new"}
        assert [endpoint.name for endpoint in service.endpoints] == ["new"]
        assert [instance.id for instance in service.instances] == ["1", "2"]


async def test_what_is_deregistered_is_gone_and_the_rest_stays(opener: Opener) -> None:
    async with opener() as registry:
        await registry.register(a("1", "2", "3"))
        await registry.deregister(a("1", "3"))
        assert await registry.get("greeter") == (a("2"),)
        await registry.deregister(a("2", "never seen"))
        assert await registry.list() == ()


@with_every_change
async def test_a_watcher_is_told_what_is_there_and_then_each_change_in_order(opener: Opener) -> None:
    async with opener() as ours, opener() as theirs:
        await ours.register(a("1"))
        await ours.register(a("2"))
        async with theirs.watch() as events:
            assert [await next_of(events) for _ in range(2)] == [("create", "1", "80"), ("create", "2", "80")]
            await ours.register(a("3"))
            await ours.register(a("1", port=81))
            await ours.deregister(a("2"))
            await ours.register(a("2", port=82))
            await ours.deregister(a("2"))
            assert [await next_of(events) for _ in range(5)] == [
                ("create", "3", "80"),
                ("update", "1", "81"),
                ("delete", "2", "80"),
                ("create", "2", "82"),
                ("delete", "2", "82"),
            ]


async def test_a_watcher_ends_with_what_is_there_whatever_came_and_went(opener: Opener) -> None:
    async with opener() as ours, opener() as theirs, theirs.watch() as events:
        for number in range(10):
            await ours.register(a("1", port=1 + number))
            await ours.register(a(f"2-{number}"))
            if number % 2:
                await ours.deregister(a("1", f"2-{number}"))
        await ours.register(a("last"))
        known: dict[str, str] = {}
        while known != {**{f"2-{number}": "80" for number in range(0, 10, 2)}, "last": "80"}:
            action, id, port = await next_of(events)
            assert (id in known) is (action != "create")
            if action == "delete":
                del known[id]
            else:
                known[id] = port


async def test_a_watcher_sees_the_changes_of_its_own_registry(opener: Opener) -> None:
    async with opener() as registry, registry.watch() as events:
        await registry.register(a("1"))
        assert await next_of(events) == ("create", "1", "80")


async def test_a_waiting_watcher_is_woken(opener: Opener) -> None:
    async with opener() as ours, opener() as theirs, theirs.watch() as events, trio.open_nursery() as nursery:

        async def register_once_it_waits() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await ours.register(a("1"))

        nursery.start_soon(register_once_it_waits)
        assert await next_of(events) == ("create", "1", "80")


async def test_a_renewal_is_no_change(opener: Opener) -> None:
    async with opener() as registry, registry.watch() as events:
        await registry.register(a("1"), ttl=60)
        await registry.register(a("1"), ttl=50)
        await registry.register(a("1"))
        await registry.register(a("2"))
        assert await next_of(events) == ("create", "1", "80")
        assert await next_of(events) == ("create", "2", "80")


async def test_a_record_that_nobody_renews_disappears_and_watchers_are_told(opener: Opener) -> None:
    async with opener() as ours, opener() as theirs, theirs.watch() as events:
        created = trio.current_time()
        await ours.register(a("stays"))
        await ours.register(a("goes"), ttl=2)  # long enough to be seen by those who are told states, not changes
        assert [await next_of(events) for _ in range(3)] == [
            ("create", "stays", "80"),
            ("create", "goes", "80"),
            ("delete", "goes", "80"),
        ]
        assert trio.current_time() >= created + 1.99
        assert await ours.get("greeter") == (a("stays"),)


async def test_a_record_that_is_renewed_stays(opener: Opener) -> None:
    async with opener() as registry, registry.watch() as events:
        await registry.register(a("renewed"), ttl=2)
        await registry.register(a("renewed"), ttl=60)
        await registry.register(a("not renewed"), ttl=2.1)
        await registry.register(a("made to stay"), ttl=2)
        await registry.register(a("made to stay"))
        assert [(await next_of(events))[:2] for _ in range(4)] == [
            ("create", "renewed"),
            ("create", "not renewed"),
            ("create", "made to stay"),
            ("delete", "not renewed"),
        ]
        assert await registry.get("greeter") == (a("made to stay", "renewed"),)


async def test_a_time_to_live_can_be_cut_short_under_a_waiting_watcher(opener: Opener) -> None:
    async with opener() as registry, registry.watch() as events, trio.open_nursery() as nursery:
        await registry.register(a("1"), ttl=1000)
        assert await next_of(events) == ("create", "1", "80")

        async def cut_short() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await registry.register(a("1"), ttl=0.1)

        nursery.start_soon(cut_short)
        assert await next_of(events) == ("delete", "1", "80")


@with_every_change
async def test_two_watchers_are_told_the_same(opener: Opener) -> None:
    async with opener() as registry, registry.watch() as one:
        await registry.register(a("1"))
        async with registry.watch() as two:
            await registry.deregister(a("1"))
            expected = [("create", "1", "80"), ("delete", "1", "80")]
            assert [await next_of(one) for _ in range(2)] == expected
            assert [await next_of(two) for _ in range(2)] == expected


async def test_a_wait_that_was_cancelled_loses_nothing(opener: Opener) -> None:
    async with opener() as registry, registry.watch() as events:
        for number in range(20):
            with trio.move_on_after(0.002):
                await anext(events)
                pytest.fail("there is nothing to be told")
            await registry.register(a(str(number)))
            assert await next_of(events) == ("create", str(number), "80")


@with_a_short_log
async def test_a_watcher_too_far_behind_is_told_the_difference(opener: Opener) -> None:
    async with opener() as registry, registry.watch() as events:
        await registry.register(a("stays", "goes", "changes"))
        assert {(await next_of(events))[1] for _ in range(3)} == {"stays", "goes", "changes"}
        await registry.deregister(a("goes"))
        await registry.register(a("changes", port=81))
        await registry.register(a(*map(str, range(LOG_LENGTH))))
        await registry.deregister(a(*map(str, range(LOG_LENGTH - 2))))
        assert [await next_of(events) for _ in range(4)] == [
            ("delete", "goes", "80"),
            ("update", "changes", "81"),
            ("create", str(LOG_LENGTH - 2), "80"),
            ("create", str(LOG_LENGTH - 1), "80"),
        ]
        await registry.deregister(a("stays"))
        assert await next_of(events) == ("delete", "stays", "80")


@with_every_change
async def test_a_watcher_as_far_behind_as_the_log_is_long_misses_nothing(opener: Opener) -> None:
    async with opener() as registry, registry.watch() as events:
        await registry.register(a(*map(str, range(LOG_LENGTH - 1))))
        await registry.deregister(a("0"))
        seen = [await next_of(events) for _ in range(LOG_LENGTH)]
        assert sorted(seen[:-1]) == sorted(("create", str(number), "80") for number in range(LOG_LENGTH - 1))
        assert seen[-1] == ("delete", "0", "80")


async def test_versions_come_and_go_each_for_itself(opener: Opener) -> None:
    async with opener() as registry, registry.watch() as events:
        for service in (a("1"), a("2", version="2")):
            await registry.register(service)
            with trio.fail_after(30):
                assert await anext(events) == Event(action=Action.CREATE, service=service)
        await registry.deregister(a("1"))
        with trio.fail_after(30):
            assert await anext(events) == Event(action=Action.DELETE, service=a("1"))
        assert await registry.get("greeter") == (a("2", version="2"),)


async def test_a_record_of_100_kb_in_any_script_comes_back_as_it_was(opener: Opener) -> None:
    one = Instance(id="名前-1", address="10.0.0.1:80", metadata={"größe": "".join(map(chr, range(0x4E00, 0x9A00))) * 2})
    service = Service(name="größer", version="ß", metadata={"\n": "\0\u2028😀"}, instances=(one,))
    async with opener() as ours, opener() as theirs, theirs.watch() as events:
        await ours.register(service)
        with trio.fail_after(30):
            assert await anext(events) == Event(action=Action.CREATE, service=service)
        assert await theirs.get("größer") == (service,)


async def test_a_thousand_instances_are_listed_and_watched(opener: Opener) -> None:
    services = [
        a(*(f"{number:04}" for number in range(at, at + 50)), name=f"service-{at:04}") for at in range(0, 1000, 50)
    ]
    async with opener() as ours, opener() as theirs, theirs.watch() as events:
        for service in services:
            await ours.register(service, ttl=60)
        seen = [(await next_of(events))[:2] for _ in range(1000)]
        assert sorted(seen) == [("create", f"{number:04}") for number in range(1000)]
        assert await theirs.list() == tuple(services)


async def test_every_operation_can_be_cancelled_and_leaves_the_registry_usable(opener: Opener) -> None:
    async with opener() as registry:
        await registry.register(a("1"))
        for use in (
            lambda: registry.register(a("2")),
            lambda: registry.deregister(a("1")),
            lambda: registry.get("greeter"),
            registry.list,
        ):
            with trio.CancelScope() as scope:
                scope.cancel()
                await use()
            assert scope.cancelled_caught
        await registry.register(a("1", "2"))
        assert await registry.get("greeter") == (a("1", "2"),)


@pytest.mark.parametrize("name", ["Zoë/\\'\"; DROP TABLE", "a\nb", "%s", "\0", "名前", "x" * 255])
async def test_any_text_is_a_name(opener: Opener, name: str) -> None:
    service = a(name, name=name, version=name)
    async with opener() as registry, registry.watch() as events:
        await registry.register(service)
        assert await registry.get(name) == (service,)
        with trio.fail_after(30):
            assert await anext(events) == Event(action=Action.CREATE, service=service)
        await registry.deregister(service)
        assert await registry.get(name) == ()


@pytest.mark.parametrize(
    ("service", "says"),
    [
        (a(), "no instance"),
        (a("1", name=""), "name"),
        (a(""), "node id"),
        (a("1", port=0), "node address"),
        (a("1", name="x" * 256), "longer"),
        (a("1", name="\ud800"), "Unicode"),
    ],
)
async def test_a_record_that_could_not_be_read_back_is_refused(opener: Opener, service: Service, says: str) -> None:
    async with opener() as registry:
        for change in (registry.register, registry.deregister):
            with pytest.raises(BadRequest, match=says):
                await change(service)
        assert await registry.list() == ()


@pytest.mark.parametrize("ttl", [0.0, -1.0, math.nan])
async def test_no_time_to_live_at_all_is_refused(opener: Opener, ttl: float) -> None:
    async with opener() as registry:
        with pytest.raises(BadRequest, match="time to live"):
            await registry.register(a("1"), ttl=ttl)
        assert await registry.list() == ()


@with_a_store
async def test_records_outlive_the_registry_that_made_them(opener: Opener) -> None:
    async with opener() as registry:
        async with opener() as other:
            await other.register(a("1"), ttl=60)
        async with opener() as other:
            assert await other.get("greeter") == await registry.get("greeter") == (a("1"),)


async def test_a_closed_registry_says_so(opener: Opener) -> None:
    registry = opener()
    with pytest.raises(trio.ClosedResourceError):
        await registry.list()
    async with registry:
        pass
    for use in (registry.register(a("1")), registry.deregister(a("1")), registry.get("greeter"), registry.list()):
        with pytest.raises(trio.ClosedResourceError):
            await use
    with pytest.raises(trio.ClosedResourceError):
        async with registry.watch():
            pytest.fail("there is nothing to watch")


async def test_a_watcher_of_a_registry_that_closes_is_not_left_waiting(opener: Opener) -> None:
    registry = opener()
    await registry.__aenter__()
    async with registry.watch() as events, trio.open_nursery() as nursery:

        async def close_once_it_waits() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await registry.__aexit__(None, None, None)

        nursery.start_soon(close_once_it_waits)
        with pytest.raises(trio.ClosedResourceError):
            await next_of(events)


async def test_a_registry_can_be_opened_again(opener: Opener) -> None:
    registry = opener()
    for _ in range(2):
        async with registry:
            await registry.register(a("1"))
            assert await registry.get("greeter") == (a("1"),)


def test_what_is_left_out_for_a_back_end_is_a_test_of_this_file() -> None:
    assert {name for names in LEFT_OUT.values() for name in names} <= globals().keys()


def test_a_back_end_that_is_not_there_is_refused_naming_those_that_are() -> None:
    with pytest.raises(BadRequest, match=r"'zookeeper'.*consul, dns, etcd, .* service or sqlite"):
        open_registry("zookeeper")


@pytest.mark.parametrize(
    "name", ["u:secret@h:2379", "etcd:u:secret@h:2379", "service://u:secret@h", "mdns://u:secret@h"]
)
def test_a_password_in_the_wrong_place_is_not_repeated(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        open_registry(name)
    assert "secret" not in str(caught.value)


def test_the_address_of_a_server_is_no_group_of_mdns() -> None:
    for name in ("", "mdns"):
        with pytest.raises(BadRequest, match=r"with --registry \(MICRO_REGISTRY\)"):
            open_registry(name, "127.0.0.1:2379")


def test_mdns_is_what_nobody_has_to_ask_for() -> None:
    assert open_registry().name == "mdns"
    assert open_registry("", "staging").name == "mdns"


def test_a_path_alone_is_a_file(tmp_path: Path) -> None:
    registry = open_registry("", str(tmp_path))
    assert (registry.name, registry.address) == ("sqlite", str(tmp_path))
    assert open_registry("", "./registry.db").name == "sqlite"


@pytest.mark.parametrize(
    ("name", "address", "kind", "where"),
    [
        ("sqlite:///a/b.db", "", "sqlite", "/a/b.db"),
        ("", "memory://x", "memory", "x"),
        ("memory", "memory://x", "memory", "x"),
        ("service://a:1,b:2", "", "service", "a:1,b:2"),
    ],
)
def test_a_url_says_both_which_registry_and_where(name: str, address: str, kind: str, where: str) -> None:
    registry = open_registry(name, address)
    assert (registry.name, registry.address) == (kind, where)


@pytest.mark.parametrize("name", ["sqlite", "memory", "mdns", "service", "consul", "dns", "kubernetes"])
def test_the_url_of_another_registry_is_refused_without_its_password(name: str) -> None:
    with pytest.raises(BadRequest, match=rf"--registry \(MICRO_REGISTRY\) is {name}, and .* {name}://") as caught:
        open_registry(name, "etcd://u:secret@h:2379")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["etcd", "consul"])
def test_a_name_that_asks_for_tls_gets_it_wherever_the_registry_is(name: str) -> None:
    assert open_registry(f"{name}s", "h:1").address == open_registry("", f"{name}s://h:1").address
    assert open_registry(f"{name}s", "h:1").address.startswith(f"{name}s://")
    with pytest.raises(BadRequest, match="not begin with"):
        open_registry(f"{name}s", f"{name}://h:1")
