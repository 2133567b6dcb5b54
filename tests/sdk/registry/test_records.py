"""What back ends have in common."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import BadRequest
from sdk.registry import Action
from sdk.registry.records import Change, Key, View, check_ttl, key_of, merge, split
from sdk.types import Instance, Service

pieces = st.builds(
    lambda name, version, id, port: Service(
        name=name, version=version, instances=(Instance(id=id, address=f"h:{port}"),)
    ),
    st.sampled_from("ab"),
    st.sampled_from("12"),
    st.sampled_from("xyz"),
    st.integers(1, 3),
)
changes = st.tuples(pieces, st.booleans()).map(lambda drawn: Change(key_of(drawn[0]), drawn[0] if drawn[1] else None))


@given(st.lists(pieces))
def test_merged_pieces_split_into_the_same_pieces(drawn: list[Service]) -> None:
    latest = {key_of(piece): piece for piece in drawn}
    merged = merge(latest.values())
    assert {key: piece for service in merged for key, piece in split(service).items()} == latest
    assert [(service.name, service.version) for service in merged] == sorted({key[:2] for key in latest})


class Watcher:
    """Keeps its own state by the events alone, and takes none that does not fit."""

    def __init__(self) -> None:
        self.view = View()
        self.records: dict[Key, Service] = {}

    def told(self, changes: list[Change] | dict[Key, Service]) -> None:
        events = self.view.follow(changes) if isinstance(changes, list) else self.view.replace(changes)
        for event in events:
            key = key_of(event.service)
            match event.action:
                case Action.CREATE:
                    assert key not in self.records
                    self.records[key] = event.service
                case Action.UPDATE:
                    assert self.records[key] != event.service
                    self.records[key] = event.service
                case Action.DELETE:
                    assert self.records.pop(key) == event.service


@given(st.lists(st.tuples(st.lists(changes), st.booleans())))
def test_whoever_applies_the_events_has_the_state_of_the_store(steps: list[tuple[list[Change], bool]]) -> None:
    store: dict[Key, Service] = {}
    watcher = Watcher()
    for lines, in_time in steps:
        for key, record in lines:
            store.pop(key, None)
            if record is not None:
                store[key] = record
        watcher.told(lines if in_time else store)
        assert watcher.records == store


def test_following_a_log_tells_what_came_and_went_in_between() -> None:
    piece = Service(name="a", instances=(Instance(id="x", address="h:1"),))
    key = key_of(piece)
    events = View().follow([Change(key, piece), Change(key, None), Change(key, piece)])
    assert [event.action for event in events] == [Action.CREATE, Action.DELETE, Action.CREATE]


def test_a_difference_tells_first_what_is_gone() -> None:
    one, two = (Service(name="a", instances=(Instance(id=id, address="h:1"),)) for id in "xy")
    view = View()
    view.replace({key_of(one): one})
    events = view.replace({key_of(two): two})
    assert [(event.action, event.service) for event in events] == [(Action.DELETE, one), (Action.CREATE, two)]


def test_a_record_is_split_with_everything_it_says() -> None:
    service = Service(
        name="a", metadata={"k": "v"}, instances=(Instance(id="x", address="h:1"), Instance(id="y", address="h:2"))
    )
    parts = split(service)
    assert list(parts) == [("a", "latest", "x"), ("a", "latest", "y")]
    assert all(part.metadata == {"k": "v"} for part in parts.values())
    assert [len(part.instances) for part in parts.values()] == [1, 1]


def test_what_is_split_off_does_not_change_with_what_it_came_from() -> None:
    labels = {"k": "v"}
    [part] = split(Service(name="a", metadata=labels, instances=(Instance(id="x", address="h:1"),))).values()
    labels["k"] = "w"
    assert part.metadata == {"k": "v"}


def test_no_time_to_live_is_an_endless_one() -> None:
    assert check_ttl(None) == math.inf
    assert check_ttl(0.5) == 0.5
    with pytest.raises(BadRequest):
        check_ttl(math.nan)
