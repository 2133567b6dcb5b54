"""Type annotations of handlers: how plain data becomes the annotated type, and how the type is published.

An annotation is compiled once, when a handler is added or a reply type is first asked for; what does not fit then is a
`TypeError` of the programmer. Data that does not fit later is a `Mismatch`, which names the field: `user.emails[2] is
int, not str`.

The file is longer than others: each kind of type has one place for how it is read and one for how it is published.
"""

import base64
import collections.abc
import enum
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

from .structures import Structure, class_of, resolve, structure_of
from .texts import Form, form_of
from .types import MAX_DEPTH, Value

Convert = Callable[[Any], Any]
"""Makes the annotated type of plain data, or raises `Mismatch`."""


class Mismatch(ValueError):
    """Data that is not what the annotation says."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path
        """Where: `user.emails[2]`; empty for the outermost value."""

    def within(self, step: str) -> "Mismatch":
        """The same, seen from one level further out."""
        joint = "." if self.path and not self.path.startswith("[") else ""
        return Mismatch(self.reason, step + joint + self.path)

    def __str__(self) -> str:
        return f"{self.path or 'it'} {self.reason}"


def annotation_of(function: Callable[..., Any], parameter: str) -> Any:
    """The annotation of a parameter, or of `return`; `Any` where there is none.

    Raises `TypeError` for one written as text that names something out of reach.
    """
    while isinstance(function, functools.partial):
        function = function.func
    annotation = function.__annotations__.get(parameter, Any)
    written = inspect.unwrap(function)  # what a decorator of another module made has that module's names
    return resolve({parameter: annotation}, function, getattr(written, "__globals__", {}))[parameter]


def converter(annotation: Any) -> Convert | None:
    """How data becomes what `annotation` says, or None where it stays as it is. Raises `TypeError` for what is not
    supported."""
    if annotation is Any or annotation is object:
        return None
    if annotation is None or annotation is type(None):
        return _none
    if isinstance(annotation, type) and annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, typing.NewType):
        return converter(annotation.__supertype__)
    if isinstance(annotation, typing.TypeVar):  # nobody said what it stands for
        return None
    if class_of(annotation) is not None:
        return _Structure.of(annotation).convert
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return _class_converter(annotation)
    return _generic_converter(typing.get_origin(annotation), typing.get_args(annotation), annotation)


def schema_of(annotation: Any) -> Value | None:
    """The annotation as an endpoint publishes it; None where it says nothing."""
    if annotation is Any or annotation is object or annotation is None or annotation is type(None):
        return None
    return _value(_name(annotation), annotation, 0)


# Data into types.


def _none(data: Any) -> None:
    if data is not None:
        raise Mismatch(f"is {_kind(data)}, where nothing belongs")


def _scalar(kind: type, accepted: tuple[type, ...]) -> Convert:
    name = kind.__name__

    def convert(data: Any) -> Any:
        if type(data) in accepted:
            try:
                return data if type(data) is kind else kind(data)
            except OverflowError:
                raise Mismatch(f"is too large for {name}") from None
        raise Mismatch(f"is {_kind(data)}, not {name}")

    return convert


def _bytes(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):  # JSON has no bytes; protobuf's mapping and Go's put base64 there
        try:
            return base64.b64decode(data, validate=True)
        except ValueError:
            raise Mismatch("is text that is not base64, where bytes belong") from None
    raise Mismatch(f"is {_kind(data)}, not bytes")


_SCALARS: dict[Any, Convert] = {
    bool: _scalar(bool, (bool,)),
    int: _scalar(int, (int,)),
    float: _scalar(float, (float, int)),
    str: _scalar(str, (str,)),
    bytes: _bytes,
}


def _class_converter(kind: type) -> Convert:
    if issubclass(kind, enum.Enum):
        return _enum_converter(kind)
    if hasattr(kind, "FromString") and hasattr(kind, "DESCRIPTOR"):
        return _message_converter(kind)
    if kind in _COLLECTIONS or kind in _MAPPINGS:
        return _generic_converter(kind, (), kind)
    if (form := form_of(kind)) is not None:
        return _text_converter(kind, form)
    raise _unsupported(kind)


def _text_converter(kind: type, form: Form) -> Convert:
    def convert(data: Any) -> Any:
        try:
            value = form.read(kind, data)
        except (ValueError, OverflowError, ArithmeticError):
            raise Mismatch(f"is {data!r:.100}, not {form.what}") from None
        if value is None:
            raise Mismatch(f"is {_kind(data)}, not {form.what}")
        return value

    return convert


def _enum_converter(kind: type[enum.Enum]) -> Convert:
    def convert(data: Any) -> Any:
        try:
            return kind(data)
        except ValueError:
            allowed = ", ".join(repr(member.value) for member in kind)
            raise Mismatch(f"is {data!r:.100}, not one of {allowed}") from None

    return convert


def _message_converter(kind: Any) -> Convert:
    """A protobuf class: its bytes, or plain data by protobuf's own JSON mapping."""
    name = kind.DESCRIPTOR.full_name

    def convert(data: Any) -> Any:
        try:
            if isinstance(data, bytes):
                return kind.FromString(data)
            from google.protobuf import json_format

            return json_format.ParseDict(data, kind(), ignore_unknown_fields=True)
        except Exception as error:
            raise Mismatch(f"is no {name}: {error}") from None

    return convert


_COLLECTIONS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}

_MAPPINGS = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})


def _generic_converter(origin: Any, arguments: tuple[Any, ...], annotation: Any) -> Convert:
    if origin is typing.Union or origin is types.UnionType:
        return _union_converter(arguments)
    if origin is typing.Literal:
        return _literal_converter(arguments)
    if origin is typing.Annotated:
        return converter(arguments[0]) or (lambda data: data)
    if origin in _MAPPINGS:
        return _mapping_converter(arguments)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return _tuple_converter(arguments)
    if origin in _COLLECTIONS:
        return _list_converter(_COLLECTIONS[origin], converter(arguments[0]) if arguments else None)
    raise _unsupported(annotation)


def _union_converter(members: tuple[Any, ...]) -> Convert:
    converts = [converter(member) for member in members]
    optional = type(None) in members
    names = " or ".join(_name(member) for member in members)

    def convert(data: Any) -> Any:
        if data is None and optional:
            return None
        reason: Mismatch | None = None
        for one in converts:
            if one is None:
                return data
            try:
                if one is not _none:
                    return one(data)
            except Mismatch as error:
                reason = error
        if reason is not None and len(converts) - optional == 1:
            raise reason
        raise Mismatch(f"is {_kind(data)}, which fits none of {names}")

    return convert


def _literal_converter(values: tuple[Any, ...]) -> Convert:
    def convert(data: Any) -> Any:
        for value in values:
            if value == data and type(value) is type(data):
                return value
        raise Mismatch(f"is {data!r:.100}, not one of {', '.join(map(repr, values))}")

    return convert


def _mapping_converter(arguments: tuple[Any, ...]) -> Convert:
    convert_key, convert_value = map(converter, arguments) if arguments else (None, None)
    if convert_key is not None:
        convert_key = _key_converter(convert_key)

    def convert(data: Any) -> Any:
        if not isinstance(data, dict):
            raise Mismatch(f"is {_kind(data)}, not an object")
        result = {}
        for key, value in data.items():
            try:
                name = convert_key(key) if convert_key else key
                result[name] = convert_value(value) if convert_value else value
            except Mismatch as error:
                raise error.within(f"[{key!r:.100}]") from None
        return result

    return convert


def _key_converter(convert: Convert) -> Convert:
    """JSON has no keys but text; protobuf's mapping and Go's put a number's digits there, and so does `codec`."""

    def convert_key(data: Any) -> Any:
        try:
            return convert(data)
        except Mismatch:
            if not isinstance(data, str) or not _DIGITS.fullmatch(data):
                raise
        return convert(int(data))

    return convert_key


_DIGITS = re.compile("0|-?[1-9][0-9]{0,19}")
"""Of the numbers that 64 bits hold, and few others: reading very long ones takes very long."""


def _tuple_converter(arguments: tuple[Any, ...]) -> Convert:
    converts = tuple(converter(argument) for argument in arguments)

    def convert(data: Any) -> Any:
        if not isinstance(data, list | tuple) or len(data) != len(converts):
            raise Mismatch(f"is {_kind(data)}, not a list of {len(converts)}")
        return tuple(_items(data, converts))

    return convert


def _list_converter(make: Callable[[Iterable[Any]], Any], each: Convert | None) -> Convert:
    def convert(data: Any) -> Any:
        if not isinstance(data, list | tuple):
            raise Mismatch(f"is {_kind(data)}, not a list")
        return make(_items(data, (each,) * len(data)) if each else data)

    return convert


def _items(data: Iterable[Any], converts: Iterable[Convert | None]) -> Iterable[Any]:
    for index, (item, convert) in enumerate(zip(data, converts, strict=True)):
        try:
            yield convert(item) if convert else item
        except Mismatch as error:
            raise error.within(f"[{index}]") from None


class _Structure:
    """A class with fields, compiled. Kept by annotation, so that one that contains itself comes to an end."""

    _known: typing.ClassVar[dict[Any, "_Structure"]] = {}

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self._fields: list[tuple[str, Convert | None, bool]] = []

    @classmethod
    def of(cls, annotation: Any) -> "_Structure":
        """The compiled form of a class, or of a generic one with its arguments."""
        known = cls._known.get(annotation)
        if known is None:
            known = cls._known[annotation] = cls(structure_of(annotation))
            try:
                known._fields += [
                    (field.name, converter(field.hint), field.required) for field in known.structure.fields
                ]
            except BaseException:
                del cls._known[annotation]
                raise
        return known

    def convert(self, data: Any) -> Any:
        """An instance of the class. Keys it does not know are skipped: a newer caller may send more."""
        name = self.structure.name
        if self.structure.ordered and isinstance(data, list | tuple):
            if len(data) > len(self._fields):
                raise Mismatch(f"is {_kind(data)} of {len(data)}, where {name} has {len(self._fields)}")
            data = dict(zip((field for field, _, _ in self._fields), data, strict=False))
        if not isinstance(data, dict):
            raise Mismatch(f"is {_kind(data)}, not an object ({name})")
        values = {}
        for field, convert, required in self._fields:
            if field in data:
                try:
                    values[field] = convert(data[field]) if convert else data[field]
                except Mismatch as error:
                    raise error.within(field) from None
            elif required:
                raise Mismatch("is missing", field)
        try:
            return self.structure.make(**values)
        except Mismatch:
            raise
        except (TypeError, ValueError) as error:  # __post_init__ checks what types cannot say
            raise Mismatch(f"is no {name}: {error}") from None


# Types as published.


def _value(name: str, annotation: Any, depth: int) -> Value:
    return Value(name=name, type=_name(annotation), values=_values(annotation, depth))


def _values(annotation: Any, depth: int) -> tuple[Value, ...]:
    """The fields of the structure that an annotation is, or is a collection of."""
    if depth >= MAX_DEPTH:
        return ()
    if class_of(annotation) is not None:
        fields = _Structure.of(annotation).structure.fields
        return tuple(_value(field.name, field.hint, depth + 1) for field in fields)
    if typing.get_origin(annotation) is typing.Annotated:
        return _values(typing.get_args(annotation)[0], depth)
    if isinstance(annotation, type) and hasattr(annotation, "FromString") and hasattr(annotation, "DESCRIPTOR"):
        return _message_values(annotation.DESCRIPTOR, depth)
    inner = [argument for argument in typing.get_args(annotation) if argument not in (type(None), Ellipsis)]
    return _values(inner[-1], depth) if inner else ()


def _message_values(descriptor: Any, depth: int) -> tuple[Value, ...]:
    if depth >= MAX_DEPTH:
        return ()
    result = []
    for field in descriptor.fields:
        message = field.message_type
        kind = message.name if message else _PROTOBUF_TYPES.get(field.type, "enum")
        result.append(Value(name=field.name, type=kind, values=_message_values(message, depth + 1) if message else ()))
    return tuple(result)


# Numbers of FieldDescriptorProto.Type (descriptor.proto).
_PROTOBUF_TYPES = {
    1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 6: "fixed64", 7: "fixed32", 8: "bool", 9: "string",
    12: "bytes", 13: "uint32", 15: "sfixed32", 16: "sfixed64", 17: "sint32", 18: "sint64",
}  # fmt: skip


def _name(annotation: Any) -> str:
    if annotation is type(None):
        return "None"
    if isinstance(annotation, typing.TypeVar):
        return "Any"
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation.__name__
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _name(arguments[0])
    if origin is typing.Union or origin is types.UnionType:
        return " | ".join(map(_name, arguments))
    if origin is None or origin is typing.Literal:
        return str(annotation).replace("typing.", "")
    names = ("..." if argument is Ellipsis else _name(argument) for argument in arguments)
    return f"{getattr(origin, '__name__', origin)}[{', '.join(names)}]"


def _kind(data: object) -> str:
    return {type(None): "nothing", dict: "an object", list: "a list"}.get(type(data), type(data).__name__)


def _unsupported(annotation: Any) -> TypeError:
    return TypeError(
        f"{_name(annotation)} cannot be made from a message: annotate with a dataclass, a TypedDict, a NamedTuple, "
        "a protobuf message, an enum, plain types (bool, int, float, str, bytes, list, tuple, set, dict, unions of "
        "them), or what is said as text (datetime, date, time, timedelta, UUID, Decimal, Path)"
    )
