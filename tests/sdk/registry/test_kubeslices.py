"""Slices of Kubernetes put together: an instance that stands in two of them has one record, whoever asks."""

from sdk.registry.kubejson import Slice
from sdk.registry.kubeslices import Slices
from sdk.registry.records import Change, key_of
from sdk.types import Service
from tests.sdk.registry.test_registry import a


def one(path: str, *records: Service) -> Slice:
    return Slice(path, {key_of(record): record for record in records})


def together(*slices: Slice) -> Slices:
    found = Slices()
    for each in slices:
        found.put(each.path, each)
    return found


def change(record: Service, *, gone: bool = False) -> Change:
    return Change(key_of(record), None if gone else record)


def test_a_slice_that_changes_tells_what_its_instances_are_now() -> None:
    slices = together(one("n/a", a("1"), a("2")))
    assert slices.put("n/a", one("n/a", a("2", port=81), a("3"))) == [
        change(a("1"), gone=True),
        change(a("2", port=81)),
        change(a("3")),
    ]
    assert slices.put("n/a", None) == [change(a("2"), gone=True), change(a("3"), gone=True)]
    assert slices.records() == {}
    assert slices.put("never seen", None) == []


def test_of_two_slices_with_one_instance_the_first_by_its_path_says_what_it_is_in_whichever_order_they_come() -> None:
    low, high = one("n/a", a("1", port=81)), one("n/b", a("1", port=82))
    for both in ((low, high), (high, low)):
        slices = together(*both)
        assert slices.records() == low.records
        assert slices.put("n/b", high) == [change(a("1", port=81))]
        assert slices.put("n/a", None) == [change(a("1", port=82))]
        assert slices.records() == high.records
