from hypothesis import given
from hypothesis import strategies as st

from router.servicemap import MAX_CHANGED, MAX_CHANGES, ServiceMap, bucket_of
from router.services import ServiceEntry
from tests.router.network import entry, map_of

NAMES = [f"s{number}" for number in range(40)]
changes = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3), max_size=8)


def entries_of(name: str, versions: int) -> tuple[ServiceEntry, ...]:
    return map_of(*(entry(name, str(version)) for version in range(versions))).services.get(name, ())


@given(st.lists(changes, max_size=20))
def test_it_is_the_same_whichever_changes_led_to_it(history: list[dict[str, int]]) -> None:
    model: dict[str, tuple[ServiceEntry, ...]] = {}
    changed = ServiceMap()
    states = []
    for seq, change in enumerate(history, start=1):
        states.append((changed.at, dict(model)))
        entries = {name: entries_of(name, versions) for name, versions in change.items()}
        size = changed.size_after(entries)
        assert changed.update(entries, (1, seq))
        assert changed.size == size
        model = {name: group for name, group in (model | entries).items() if group}
    fresh = map_of(*(each for group in model.values() for each in group))
    assert changed.services == model == fresh.services
    assert (changed.root, changed.count, changed.size) == (fresh.root, fresh.count, fresh.size)
    for at, before in states:
        names = changed.since(at)
        if names is not None:
            assert {name for name in NAMES if before.get(name) != model.get(name)} <= set(names)
    for at, _ in states[2:]:
        assert changed.since(at) is not None


@given(changes, changes)
def test_a_change_that_does_not_lead_to_what_was_signed_changes_nothing(
    one: dict[str, int], two: dict[str, int]
) -> None:
    start = {name: entries_of(name, versions) for name, versions in one.items()}
    then = {name: entries_of(name, versions) for name, versions in two.items()}
    right, tried = ServiceMap(), ServiceMap()
    for each in (right, tried):
        each.update(start, (1, 1))
    right.update(then, (1, 2))
    kept = (dict(tried.services), tried.root, tried.count, tried.size, tried.at)
    assert not tried.update(then, (1, 2), count=right.count + 1, root=right.root)
    assert not tried.update(then, (1, 2), count=right.count, root=bytes(32))
    assert kept == (dict(tried.services), tried.root, tried.count, tried.size, tried.at)
    assert tried.update(then, (1, 2), count=right.count, root=right.root)
    assert tried.root == right.root


def test_two_maps_differ_in_their_roots_where_they_differ_in_anything() -> None:
    roots = {
        map_of(*entries).root
        for entries in (
            [], [entry("x")], [entry("y")], [entry("x", "2")], [entry("x", instances=2)], [entry("x"), entry("y")],
            [entry("x"), entry("x", "2")],
        )
    }  # fmt: skip
    assert len(roots) == 7


def test_what_has_changed_is_remembered_within_bounds_and_within_one_life() -> None:
    services = ServiceMap()
    for seq in range(1, MAX_CHANGES + 10):
        services.update({f"s{seq}": entries_of(f"s{seq}", 1)}, (1, seq))
    assert services.since(services.at) == {}
    assert services.since((1, services.at[1] - 1)) == {f"s{services.at[1]}": None}
    assert services.before == (1, services.at[1] - 1)
    assert services.since((1, 1)) is None
    assert services.since((9, 9)) is None
    many = {f"m{number}": entries_of(f"m{number}", 1) for number in range(MAX_CHANGED + 1)}
    last = services.at
    services.update(many, (1, 1000))
    assert services.since(last) is None
    services.update({"x": entries_of("x", 1)}, (1, 1001))
    services.renumber((2, 1))
    assert services.since((1, 1001)) is None
    assert services.at == (2, 1)
    assert services.before == (0, 0)


def test_names_are_spread_over_the_buckets() -> None:
    assert len({bucket_of(f"service-{number}") for number in range(5000)}) == 256
