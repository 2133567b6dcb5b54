"""Whether arguments are of the types that are asked for: Python does not say, and what comes of a number where text
belongs is an error from somewhere inside, later, or none.

What was given is named by its type alone: it may be a secret that stands in the wrong place.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple


def kind_of(value: object) -> str:
    """The type of an argument, for a person."""
    return "None" if value is None else type(value).__name__


class Wanted(NamedTuple):
    """What an argument must be."""

    words: str
    """For a person, with an example."""
    fits: Callable[[Any], bool]
    found: Callable[[Any], str] = kind_of
    """What one that does not fit is instead."""


def check(whose: str, wanted: Mapping[str, Wanted], said: Mapping[str, object]) -> None:
    """Raises `TypeError` for the first argument that is not what it must be, naming it."""
    for name, value in said.items():
        one = wanted[name]
        if not one.fits(value):
            raise TypeError(f"{whose}: {name} is {one.words}, not {one.found(value)}")


def text(example: str) -> Wanted:
    """Text, such as the example."""
    return Wanted(f'text, such as "{example}"', _is_text)


def optional(wanted: Wanted) -> Wanted:
    """That, or None where nothing is to be said."""
    return wanted._replace(words=f"{wanted.words}, or None", fits=lambda value: value is None or wanted.fits(value))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _count_found(value: object) -> str:
    return "one below zero" if isinstance(value, int) and value < 0 else kind_of(value)


def _of_text(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(each, str) for item in value.items() for each in item)


def _text_found(value: object) -> str:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str) or not isinstance(item, str):
                return f"{kind_of(item)} at {name!r:.50}"
    return kind_of(value)


def _of_functions(value: object) -> bool:
    return isinstance(value, list | tuple) and all(callable(each) for each in value)


def _functions_found(value: object) -> str:
    if isinstance(value, list | tuple):
        return " and ".join(sorted({kind_of(each) for each in value if not callable(each)}))
    return kind_of(value)


SECONDS: Final = Wanted("seconds as a number, such as 30.0", _is_number)
COUNT: Final = Wanted("a whole number from 0 on, such as 3", _is_count, _count_found)
FLAG: Final = Wanted("True or False", lambda value: isinstance(value, bool))
TEXTS: Final = Wanted('text by names, such as {"team": "blue"}', _of_text, _text_found)
FUNCTION: Final = Wanted("a function", callable)
WRAPPERS: Final = Wanted(
    "a list of functions, each of a call and of what proceeds with it", _of_functions, _functions_found
)
