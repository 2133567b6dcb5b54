from __future__ import annotations

import enum
from collections.abc import Iterable, MutableMapping, Set
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any, ClassVar, Final, Generic, NamedTuple, NotRequired, Required, TypedDict, TypeVar

import pytest

from sdk import Service
from sdk.codec import JSON, MSGPACK, decode_untrusted, encode
from sdk.errors import BadRequest
from sdk.schema import Mismatch, converter, schema_of
from sdk.structures import class_of, structure_of

T = TypeVar("T")


@dataclass
class User:
    name: str
    age: int | None = None


@dataclass
class Page(Generic[T]):
    LIMIT: ClassVar[int] = 50
    items: list[T]
    next: str | None = None
    inner: Page[T] | None = None


@dataclass
class UserPage(Page[User]):
    total: Final[int] = 0


@dataclass
class Named(Generic[T]):
    _: KW_ONLY
    by_name: dict[str, T] = field(default_factory=dict)


class Colour(enum.IntEnum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: float = 0.5


class Base(TypedDict, Generic[T]):
    id: Required[T]
    note: NotRequired[str]


class Order(Base[int], total=False):
    lines: list[Point]


def convert(annotation: Any, data: Any) -> Any:
    function = converter(annotation)
    assert function is not None
    return function(data)


def test_a_generic_dataclass_is_made_with_its_arguments_at_any_depth() -> None:
    data: Any = {"items": [{"name": "a"}], "inner": {"items": [{"name": "b", "age": 3}]}}
    expected = Page([User("a")], inner=Page([User("b", 3)]))
    assert convert(Page[User], data) == expected
    with pytest.raises(Mismatch, match=r"inner\.items\[0\]\.name is int, not str"):
        convert(Page[User], {"items": [], "inner": {"items": [{"name": 1}]}})
    assert convert(Page, data) == Page(data["items"], inner=Page(data["inner"]["items"]))
    assert convert(Named[Page[int]], {"by_name": {"a": {"items": [1]}}}) == Named(by_name={"a": Page([1])})


def test_one_that_is_derived_knows_what_the_variables_of_its_base_mean() -> None:
    assert convert(UserPage, {"items": [{"name": "a"}], "total": 1}) == UserPage([User("a")], total=1)
    with pytest.raises(Mismatch, match="total is str, not int"):
        convert(UserPage, {"items": [], "total": "1"})


def test_a_typed_dictionary_is_a_dict_with_the_keys_it_names() -> None:
    data = {"id": 7, "lines": [[1, 2]], "unknown": 1}
    made = convert(Order, data)
    assert made == {"id": 7, "lines": [Point(1, 2.0)]}
    assert isinstance(made["lines"][0], Point)
    assert convert(Order, {"id": 7, "note": "x"}) == {"id": 7, "note": "x"}
    assert convert(Base[str], {"id": "a"}) == {"id": "a"}
    for wrong, why in (
        ({}, "id is missing"),
        ({"id": "7"}, "id is str, not int"),
        ({"id": 7, "note": 1}, "note is int"),
    ):
        with pytest.raises(Mismatch, match=why):
            convert(Order, wrong)


@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
def test_a_named_tuple_goes_as_a_list_and_is_read_from_an_object_too(content_type: str) -> None:
    assert convert(Point, decode_untrusted(content_type, encode(content_type, Point(1, 2)))) == Point(1, 2)
    assert convert(Point, {"x": 1}) == Point(1, 0.5)
    for wrong, why in (([], "x is missing"), ([1, 2, 3], "is a list of 3, where Point has 2"), ("x", "not an object")):
        with pytest.raises(Mismatch, match=why):
            convert(Point, wrong)


def test_abstract_collections_and_numbers_as_keys_are_understood() -> None:
    assert convert(Iterable[int], [1]) == [1]
    assert convert(Set[int], [1, 1]) == {1}
    assert convert(MutableMapping[str, int], {"a": 1}) == {"a": 1}
    plain = decode_untrusted(JSON, encode(JSON, {Colour.RED: 1}))
    assert convert(dict[Colour, int], plain) == {Colour.RED: 1}


def test_the_schema_says_what_the_variables_mean_and_nothing_of_annotations_behind_the_type() -> None:
    schema = schema_of(Page[User])
    assert schema is not None
    assert [(each.name, each.type) for each in schema.values] == [
        ("items", "list[User]"),
        ("next", "str | None"),
        ("inner", "Page[User] | None"),
    ]
    assert [each.name for each in schema.values[0].values] == ["name", "age"]
    noted = schema_of(Annotated[User, {"not": "hashable"}])
    assert noted is not None
    assert (noted.type, len(noted.values)) == ("User", 2)


def test_a_class_without_fields_is_no_structure() -> None:
    assert [class_of(each) for each in (int, tuple, dict, list[int], Colour, T, None)] == [None] * 7
    assert structure_of(Point).fields[1].required is False


async def test_a_handler_takes_and_answers_them() -> None:
    service = Service("orders")

    @service.handle("Orders.Page")
    async def page(order: Order) -> Page[Point]:
        return Page(order["lines"])

    async with service.testing() as client:
        made = await client.call("orders", "Orders.Page", Order(id=1, lines=[Point(3)]), reply_type=Page[Point])
        assert made == Page([Point(3)])
        with pytest.raises(BadRequest, match="id is missing"):
            await client.call("orders", "Orders.Page", {"lines": []})
