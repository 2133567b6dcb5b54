import enum
import functools
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NewType, cast

import pytest
from google.protobuf import struct_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from sdk.codec import JSON, MSGPACK, decode_untrusted, encode
from sdk.schema import Mismatch, annotation_of, converter, schema_of
from sdk.types import Value


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True, kw_only=True)
class Shape:
    name: str
    points: list[Point]
    colour: Colour = Colour.RED
    weight: float | None = None
    tags: dict[str, int] = field(default_factory=dict)
    inner: "Shape | None" = None


@dataclass
class Positive:
    n: int

    def __post_init__(self) -> None:
        if self.n <= 0:
            raise ValueError("n must be above zero")


@dataclass
class Everything:
    shape: Shape
    raw: bytes
    pair: tuple[int, str]
    many: tuple[int, ...]
    names: set[str]
    one_of: Literal["a", "b"]
    either: int | str
    anything: Any
    plain: dict  # type: ignore[type-arg]


UserId = NewType("UserId", int)


def convert(annotation: Any, data: Any) -> Any:
    function = converter(annotation)
    return data if function is None else function(data)


def test_plain_data_becomes_the_annotated_type_at_any_depth() -> None:
    data = {
        "name": "triangle",
        "points": [{"x": 1, "y": 2}, {"x": 3}],
        "colour": "red",
        "weight": 2,
        "tags": {"a": 1},
        "inner": {"name": "dot", "points": []},
        "unknown": "skipped",
    }
    expected = Shape(
        name="triangle",
        points=[Point(1, 2), Point(3)],
        weight=2.0,
        tags={"a": 1},
        inner=Shape(name="dot", points=[]),
    )
    assert convert(Shape, data) == expected


def test_every_kind_of_annotation_is_understood() -> None:
    data = {
        "shape": {"name": "s", "points": []},
        "raw": "AQI=",
        "pair": [1, "x"],
        "many": [1, 2],
        "names": ["a", "a"],
        "one_of": "b",
        "either": "text",
        "anything": object,
        "plain": {1: 2},
    }
    assert convert(Everything, data) == Everything(
        Shape(name="s", points=[]), b"\1\2", (1, "x"), (1, 2), {"a"}, "b", "text", object, {1: 2}
    )
    assert convert(Sequence[int], [1]) == [1]
    assert convert(UserId, 3) == 3
    assert convert(Annotated[int, "positive"], 3) == 3
    assert convert(int | None, None) is None
    assert convert(None, None) is None


@pytest.mark.parametrize(
    ("annotation", "data", "message"),
    [
        (Shape, {"points": []}, "name is missing"),
        (Shape, {"name": 1, "points": []}, "name is int, not str"),
        (Shape, {"name": "s", "points": [{"x": 1}, {"x": "1"}]}, r"points\[1\].x is str, not int"),
        (Shape, {"name": "s", "points": {}}, "points is an object, not a list"),
        (Shape, {"name": "s", "points": [], "colour": "blue"}, "colour is 'blue', not one of 'red'"),
        (Shape, {"name": "s", "points": [], "tags": {"a": None}}, r"tags\['a'\] is nothing, not int"),
        (Shape, {"name": "s", "points": [], "weight": True}, "weight is bool, not float"),
        (Shape, {"name": "s", "points": [], "inner": {"name": "s"}}, "inner.points is missing"),
        (Shape, [], r"it is a list, not an object \(Shape\)"),
        (Positive, {"n": 0}, "it is no Positive: n must be above zero"),
        (int, True, "it is bool, not int"),
        (bytes, "***", "not base64"),
        (tuple[int, str], [1], "not a list of 2"),
        (Literal["a"], "b", "not one of 'a'"),
        (int | str, 1.5, "fits none of int or str"),
        (None, 1, "where nothing belongs"),
        pytest.param(float, 10**400, "it is too large for float", id="too large"),
        (dict[int, str], {"x": "a"}, r"\['x'\] is str, not int"),
        (dict[int, str], {"9" * 5000: "a"}, "is str, not int"),
        (dict[int, str], {True: "a"}, r"\[True\] is bool, not int"),
    ],
)
def test_what_does_not_fit_is_named(annotation: Any, data: Any, message: str) -> None:
    with pytest.raises(Mismatch, match=message):
        convert(annotation, data)


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.binary(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_comes_only_a_mismatch_comes_out(data: Any) -> None:
    for annotation in (Shape, Everything, Positive, Colour, wrappers_pb2.StringValue, dict[str, list[int]]):
        try:
            convert(annotation, data)
        except Mismatch:
            pass


@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
def test_numbers_as_keys_come_back_as_they_went(content_type: str) -> None:
    numbers = {-7: "a", 0: "b", 2**63: "c"}
    assert convert(dict[int, str], decode_untrusted(content_type, encode(content_type, numbers))) == numbers


def test_a_protobuf_message_is_made_of_its_bytes_or_of_plain_data() -> None:
    message = wrappers_pb2.StringValue(value="hi")
    assert convert(wrappers_pb2.StringValue, message.SerializeToString()) == message
    assert convert(struct_pb2.Struct, {"a": 1})["a"] == 1
    with pytest.raises(Mismatch, match="StringValue"):
        convert(wrappers_pb2.StringValue, b"\xff\xff")


@pytest.mark.parametrize("annotation", [complex, object.__class__, list[complex], Point | complex])
def test_a_type_that_no_message_can_become_is_refused_when_the_handler_is_added(annotation: Any) -> None:
    with pytest.raises(TypeError, match="dataclass"):
        converter(annotation)


def test_a_dataclass_with_a_field_that_cannot_be_is_refused_every_time() -> None:
    @dataclass
    class Bad:
        z: complex

    for _ in range(2):
        with pytest.raises(TypeError, match="complex"):
            converter(Bad)


def test_annotations_written_as_text_are_resolved_or_named() -> None:
    async def good(request: "Point") -> "Shape | None": ...

    async def bad(request: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
        ...

    assert annotation_of(good, "request") is Point
    assert annotation_of(good, "return") == Shape | None
    with pytest.raises(TypeError, match="Nowhere"):
        annotation_of(bad, "request")


def test_annotations_of_partial_and_decorated_functions_are_those_of_the_function() -> None:
    async def greet(greeting: str, request: "Point") -> "Shape | None": ...

    decorated: Any = contextmanager(cast("Any", greet))  # a decorator that keeps the function's annotations
    for function in (functools.partial(greet, "Hello"), functools.partial(functools.partial(greet), "x"), decorated):
        assert annotation_of(function, "request") is Point
        assert annotation_of(function, "return") == Shape | None


def test_the_schema_is_a_tree_of_names_and_types() -> None:
    assert schema_of(Point) == Value(
        name="Point", type="Point", values=(Value(name="x", type="int"), Value(name="y", type="int"))
    )
    schema = schema_of(Shape)
    assert schema is not None
    fields = {value.name: value for value in schema.values}
    assert fields["points"].type == "list[Point]"
    assert [value.name for value in fields["points"].values] == ["x", "y"]
    assert fields["weight"].type == "float | None"
    assert fields["tags"].type == "dict[str, int]"


def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    value, depth = schema_of(Shape), 0
    while value is not None:
        value, depth = next((each for each in value.values if each.name == "inner"), None), depth + 1
    assert depth == 9


def test_a_protobuf_message_publishes_its_fields() -> None:
    schema = schema_of(wrappers_pb2.StringValue)
    assert schema == Value(name="StringValue", type="StringValue", values=(Value(name="value", type="string"),))


@pytest.mark.parametrize("annotation", [Any, None, object])
def test_what_says_nothing_publishes_nothing(annotation: Any) -> None:
    assert schema_of(annotation) is None
