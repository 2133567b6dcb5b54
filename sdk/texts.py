"""Values that a message holds as text: dates, times, spans of time, UUIDs, decimals and paths.

The forms are those of JSON Schema (`date-time`, `date`, `time`, `duration`, `uuid`), in every content type: what is
read from a file of JSON, from msgpack or from a person at a prompt is the same text.

Classes are known by their names, so that no program pays for `uuid` or `decimal` unless it has them already; a class
derived from one of them is read as itself.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

MOST_DIGITS = 6144
"""Largest exponent of a decimal that is read, as decimal128 has it (IEEE 754): `int()` of `1e999999999`, which is a
dozen bytes long, would fill the memory."""


class Form(NamedTuple):
    """How values of a class are said and read."""

    what: str
    """What is said, for a person."""
    say: Callable[[Any], str]
    """A value as text."""
    read: Callable[[Any, Any], Any]
    """The class and plain data as a value. Raises `ValueError`, `OverflowError` or `ArithmeticError` for data of the
    right type that is no such text; returns None for data of another type."""


def form_of(kind: type) -> Form | None:
    """The form of a class, or of what it is derived from; None for a class that has none."""
    for each in kind.__mro__:
        if (form := _FORMS.get(f"{each.__module__}.{each.__qualname__}")) is not None:
            return form
    return None


def _isoformat(value: Any) -> str:
    text: str = value.isoformat()
    return text


def _read_date_time(kind: Any, data: Any) -> Any:
    if isinstance(data, str):
        if len(data) <= len("2026-11-21"):  # a date alone is midnight to Python, and no moment to anybody else
            raise ValueError
        return kind.fromisoformat(data)
    if hasattr(data, "to_datetime"):  # msgpack's own timestamp, which other languages send
        return kind.fromisoformat(data.to_datetime().isoformat())
    return None


def _read_iso(kind: Any, data: Any) -> Any:
    return kind.fromisoformat(data) if isinstance(data, str) else None


def _say_duration(value: Any) -> str:
    sign = "-" if value.days < 0 else ""
    value = abs(value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06}".rstrip("0") if value.microseconds else ""
    parts = ((hours, "H"), (minutes, "M"), (f"{seconds}{fraction}" if seconds or fraction else 0, "S"))
    time = "".join(f"{number}{unit}" for number, unit in parts if number)
    days = f"{value.days}D" if value.days else ""
    return f"{sign}P{days}{'T' + time if time else ''}" if days or time else "PT0S"


_DURATION = re.compile(
    r"(?P<sign>[+-]?)P(?=.)(?:(?P<weeks>\d{1,9})W)?(?:(?P<days>\d{1,9})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,12})H)?(?:(?P<minutes>\d{1,12})M)?(?:(?P<seconds>\d{1,12})(?:[.,](?P<fraction>\d{1,9}))?S)?)?",
    re.ASCII,
)


def _read_duration(kind: Any, data: Any) -> Any:
    if not isinstance(data, str):
        return None
    if (found := _DURATION.fullmatch(data)) is None:
        raise ValueError
    parts = found.groupdict(default="0")
    value = kind(
        **{unit: int(parts[unit]) for unit in ("weeks", "days", "hours", "minutes", "seconds")},
        microseconds=int(parts["fraction"].ljust(6, "0")[:6]),
    )
    return -value if parts["sign"] == "-" else value


_UUID = re.compile("[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


def _read_uuid(kind: Any, data: Any) -> Any:
    if not isinstance(data, str):
        return None
    if _UUID.fullmatch(data) is None:
        raise ValueError
    return kind(data)


def _read_decimal(kind: Any, data: Any) -> Any:
    """A number too: callers who write JSON by hand do; what they wrote is in its shortest decimal form."""
    if type(data) not in (str, int, float):
        return None
    value = kind(str(data))
    if not value.is_finite() or abs(value.adjusted()) > MOST_DIGITS:
        raise ValueError
    return value


def _read_path(kind: Any, data: Any) -> Any:
    return kind(data) if isinstance(data, str) else None


_PATH = Form("a path", str, _read_path)

_FORMS = {
    "datetime.datetime": Form("an ISO 8601 date and time", _isoformat, _read_date_time),
    "datetime.date": Form("an ISO 8601 date", _isoformat, _read_iso),
    "datetime.time": Form("an ISO 8601 time", _isoformat, _read_iso),
    "datetime.timedelta": Form("an ISO 8601 duration, such as PT1.5S", _say_duration, _read_duration),
    "uuid.UUID": Form("a UUID", str, _read_uuid),
    "decimal.Decimal": Form("a decimal number", str, _read_decimal),
    "pathlib.PurePath": _PATH,
    "pathlib._local.PurePath": _PATH,  # where Python 3.13 has it
}
