from dataclasses import replace

from router.route import Link, Query, Route
from router.watch import MAX_WAITING, Change, Watches

ROUTE = Route(
    service="x", version="", protocol="tcp", labels=(), address="a:1", gateway="", network="n", router="r",
    link=Link.NETWORK, metric=1, hops=1,
)  # fmt: skip


def test_what_differs_between_two_states_comes_as_events() -> None:
    watches = Watches()
    watch = watches.add(Query(), lambda: None)
    gone, new, dearer = replace(ROUTE, address="b:1"), replace(ROUTE, address="c:1"), replace(ROUTE, metric=9)
    watches.replace([ROUTE, gone], [dearer, new])
    assert [(change, route) for change, _, route in watch.take()] == [
        (Change.DELETE, gone), (Change.UPDATE, dearer), (Change.CREATE, new),
    ]  # fmt: skip
    watches.replace([dearer], [dearer])
    assert watch.take() == []


def test_only_what_was_asked_for_comes_and_the_revision_rises_all_the_same() -> None:
    watches = Watches()
    woken: list[None] = []
    watch = watches.add(Query(service="y"), lambda: woken.append(None))
    watches.replace([], [ROUTE])
    assert watch.take() == []
    assert not woken
    watches.replace([], [replace(ROUTE, service="y")])
    [event] = watch.take()
    assert event.revision == watches.revision == 2


def test_who_is_behind_by_a_thousand_is_told_once_to_look_again_and_then_goes_on() -> None:
    watches = Watches()
    watch = watches.add(Query(), lambda: None)
    assert watches.listening
    for number in range(MAX_WAITING):
        watches.replace([], [replace(ROUTE, address=f"{number}:1")])
    assert watches.listening
    for number in range(5):
        watches.replace([], [replace(ROUTE, address=f"more-{number}:1")])
    assert watch.overflown
    assert not watches.listening
    [event] = watch.take()
    assert (event.change, event.route) == (Change.RESYNC, None)
    watches.replace([], [replace(ROUTE, address="last:1")])
    assert [each.change for each in watch.take()] == [Change.CREATE]


def test_a_watcher_that_left_hears_nothing() -> None:
    watches = Watches()
    watch = watches.add(Query(), lambda: None)
    watch.close()
    watch.close()
    watches.replace([], [ROUTE])
    assert watch.take() == []
    assert not watches.listening


def test_what_is_wanted_is_what_somebody_can_still_take() -> None:
    watches = Watches()
    here, there = replace(ROUTE, service="", link=Link.LOCAL), replace(ROUTE, service="")
    assert watches.wanted([here, there]) == ({}, False)
    watches.add(Query(service="x", link="local"), lambda: None)
    watches.add(Query(service="y"), lambda: None)
    assert watches.wanted([here, there]) == ({"x": None, "y": None}, False)
    assert watches.wanted([there]) == ({"y": None}, False)
    assert watches.wanted([]) == ({}, False)
    everything = watches.add(Query(), lambda: None)
    assert watches.wanted([there]) == ({"y": None}, True)
    for number in range(MAX_WAITING + 1):
        watches.replace([], [replace(ROUTE, address=f"{number}:1")])
    assert watches.wanted([there]) == ({"y": None}, False)
    everything.take()
    assert watches.wanted([there]) == ({"y": None}, True)
