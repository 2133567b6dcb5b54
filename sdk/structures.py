"""Classes with named fields: dataclasses, typed dictionaries and named tuples, generic and derived ones included.

What their annotations say is found out here, whoever wrote them where; what the data must be for it, `sdk.schema` says.
"""

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Field(NamedTuple):
    """One field of a structure."""

    name: str
    hint: Any
    """Its annotation, with nothing left that is text or a type variable."""
    required: bool


class Structure(NamedTuple):
    """What an annotation says that stands for a class with fields."""

    name: str
    """The class, for a person."""
    fields: tuple[Field, ...]
    make: Callable[..., Any]
    """An instance of the values by the names of the fields."""
    ordered: bool = False
    """Whether its values are told by their place, as those of a tuple are."""


def class_of(annotation: Any) -> Any:
    """The class with fields that an annotation stands for, None for others: `Page` of `Page[User]`."""
    kind = typing.get_origin(annotation) or annotation
    if not isinstance(kind, type):
        return None
    named = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return kind if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind) or named else None


def structure_of(annotation: Any) -> Structure:
    """The fields of an annotation that `class_of` knows. Raises `TypeError` for what its module does not know."""
    kind = class_of(annotation)
    hints = _hints_of(kind, typing.get_args(annotation))
    if typing.is_typeddict(kind):
        fields = tuple(_item(name, hint, kind) for name, hint in hints.items())
        return Structure(kind.__name__, fields, dict)
    if issubclass(kind, tuple):
        fields = tuple(Field(name, hints.get(name, Any), name not in kind._field_defaults) for name in kind._fields)
        return Structure(kind.__name__, fields, kind, ordered=True)
    fields = tuple(
        Field(field.name, _bare(hints[field.name]), _is_missing(field))
        for field in dataclasses.fields(kind)
        if field.init
    )
    return Structure(kind.__name__, fields, kind)


def resolve(annotations: Mapping[str, Any], owner: Any, scope: dict[str, Any]) -> dict[str, Any]:
    """Annotations written as text become what they name. Raises `TypeError` for a name that the scope does not have."""
    if not any(isinstance(each, str | typing.ForwardRef) or typing.get_args(each) for each in annotations.values()):
        return dict(annotations)
    # Classes may say ClassVar and Final; for anything else they would be an error.
    holder: Any = type("holder", (), {}) if isinstance(owner, type) else types.SimpleNamespace()
    holder.__annotations__ = annotations
    try:
        return typing.get_type_hints(holder, globalns=scope, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"an annotation of {owner.__qualname__} names {error.name!r}, which its module does not know: "
            "define it at the top of the module"
        ) from None


def _hints_of(kind: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """The annotations of a class and what it is derived from, each in the module that it was written in."""
    meant = {kind: dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))}
    lineage = _lineage(kind)
    for base in lineage:
        for written in base.__dict__.get("__orig_bases__", ()):
            origin = typing.get_origin(written)
            if isinstance(origin, type) and origin is not typing.Generic:
                given = (_filled(each, meant.get(base, {})) for each in typing.get_args(written))
                meant[origin] = dict(zip(getattr(origin, "__parameters__", ()), given, strict=False))
    hints: dict[str, Any] = {}
    for base in reversed(lineage):
        own = resolve(inspect.get_annotations(base), base, vars(sys.modules[base.__module__]))
        filled = {name: _filled(hint, meant.get(base, {})) for name, hint in own.items()}
        # A typed dictionary repeats what its bases say, without what their type variables mean.
        hints = filled | hints if typing.is_typeddict(kind) else hints | filled
    return hints


def _lineage(kind: Any) -> list[Any]:
    """The class and its bases; those of a typed dictionary are written down only in the form it was declared in."""
    if not typing.is_typeddict(kind):
        return list(kind.__mro__)
    found = [kind]
    for each in found:
        bases = (typing.get_origin(base) or base for base in each.__dict__.get("__orig_bases__", ()))
        found += [base for base in bases if typing.is_typeddict(base) and base not in found]
    return found


def _filled(hint: Any, meant: Mapping[Any, Any]) -> Any:
    """A hint with its type variables replaced by what they mean here; `Any` where nobody said."""
    if isinstance(hint, typing.TypeVar):
        return meant.get(hint, Any)
    parameters = () if isinstance(hint, type) and class_of(hint) is hint else getattr(hint, "__parameters__", ())
    return hint[tuple(meant.get(each, Any) for each in parameters)] if parameters else hint


def _item(name: str, hint: Any, kind: Any) -> Field:
    """A key of a typed dictionary. What is written in the annotation is looked at before what Python knows: it does not
    see what stands there as text."""
    origin = typing.get_origin(hint)
    if origin is typing.Required or origin is typing.NotRequired:
        return Field(name, typing.get_args(hint)[0], origin is typing.Required)
    return Field(name, hint, name in kind.__required_keys__)


def _bare(hint: Any) -> Any:
    """The type of a field that is `Final`."""
    if typing.get_origin(hint) is typing.Final:
        return typing.get_args(hint)[0]
    return Any if hint is typing.Final else hint


def _is_missing(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
