import enum
import ipaddress
import pathlib
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgpack
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from sdk import Service
from sdk.codec import JSON, MSGPACK, decode_untrusted, encode
from sdk.errors import BadRequest
from sdk.schema import Mismatch, converter, schema_of
from sdk.texts import form_of


class Colour(enum.Enum):
    RED = "red"


class Stamp(datetime):
    pass


@dataclass(kw_only=True)
class Order:
    id: uuid.UUID
    at: datetime
    due: date | None = None
    opens: time = time(8)
    lasts: timedelta = timedelta(0)
    price: Decimal = Decimal(0)
    file: pathlib.Path = pathlib.Path("x")
    lines: dict[uuid.UUID, list[Decimal]]


ID = uuid.UUID("0e5f3a52-9a5c-4a0e-8d0c-8f2f6a1b2c3d")

BERLIN = timezone(timedelta(hours=1))

SAID = [
    (datetime(2026, 11, 21, 16, 52, 27, 500000, tzinfo=UTC), "2026-11-21T16:52:27.500000+00:00"),
    (datetime(2026, 11, 21, 16, 52), "2026-11-21T16:52:00"),  # noqa: DTZ001  # naive, and it stays so
    (date(2026, 11, 21), "2026-11-21"),
    (time(16, 52, 27, tzinfo=BERLIN), "16:52:27+01:00"),
    (timedelta(0), "PT0S"),
    (timedelta(days=1, hours=2, minutes=3, seconds=4, microseconds=500), "P1DT2H3M4.0005S"),
    (timedelta(milliseconds=-1), "-PT0.001S"),
    (timedelta(days=3), "P3D"),
    (ID, str(ID)),
    (Decimal("12.50"), "12.50"),
    (Decimal("-1E+30"), "-1E+30"),
    (pathlib.PurePosixPath("/etc/hosts"), "/etc/hosts"),
    (Stamp(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
]


def convert(annotation: Any, data: Any) -> Any:
    function = converter(annotation)
    assert function is not None
    return function(data)


@pytest.mark.parametrize(("value", "text"), SAID)
@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
def test_it_is_said_as_text_and_read_as_what_it_was(value: Any, text: str, content_type: str) -> None:
    plain = decode_untrusted(content_type, encode(content_type, {"it": [value]}))
    assert plain == {"it": [text]}
    back = convert(type(value), text)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
def test_a_dataclass_of_them_comes_back_as_it_went_keys_included(content_type: str) -> None:
    order = Order(
        id=ID,
        at=datetime(2026, 11, 21, tzinfo=UTC),
        due=date(2026, 12, 1),
        lasts=timedelta(seconds=90),
        price=Decimal("0.10"),
        file=pathlib.Path("a/b"),
        lines={ID: [Decimal("1.00")]},
    )
    assert convert(Order, decode_untrusted(content_type, encode(content_type, order))) == order


def test_keys_of_json_are_made_plain_at_any_depth_and_others_are_still_refused() -> None:
    value = {"a": [{Colour.RED: 1, date(2026, 1, 2): {ID: None}, 7: 0.5}]}
    assert encode(JSON, value) == f'{{"a":[{{"red":1,"2026-01-02":{{"{ID}":null}},"7":0.5}}]}}'.encode()
    with pytest.raises(TypeError, match="object has no plain form"):
        encode(JSON, {object(): 1})


@given(
    st.datetimes(timezones=st.just(UTC) | st.none())
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False, allow_infinity=False)
)
def test_whatever_it_is_it_comes_back(value: Any) -> None:
    assert convert(type(value), decode_untrusted(JSON, encode(JSON, value))) == value


@given(
    st.sampled_from([datetime, date, time, timedelta, uuid.UUID, Decimal, pathlib.Path]),
    st.text() | st.text("0123456789-+:.TZPDHMSWe") | st.none() | st.integers() | st.floats() | st.binary(),
)
def test_of_other_data_only_a_mismatch_comes_out(annotation: Any, data: Any) -> None:
    try:
        convert(annotation, data)
    except Mismatch:
        pass


@pytest.mark.parametrize(
    ("annotation", "data", "message"),
    [
        (datetime, "yesterday", "it is 'yesterday', not an ISO 8601 date and time"),
        (datetime, "2026-11-21", "not an ISO 8601 date and time"),
        (datetime, 1700000000, "it is int, not an ISO 8601 date and time"),
        (datetime, msgpack.Timestamp(2**62), "not an ISO 8601 date and time"),
        (date, "2026-11-21T00:00:00", "not an ISO 8601 date"),
        (timedelta, "90", "not an ISO 8601 duration"),
        (timedelta, "P", "not an ISO 8601 duration"),
        (timedelta, "PT", "not an ISO 8601 duration"),
        (timedelta, "P999999999W", "not an ISO 8601 duration"),
        (uuid.UUID, "1234", "it is '1234', not a UUID"),
        (uuid.UUID, b"1234567812345678", "it is bytes, not a UUID"),
        (Decimal, "1,5", "it is '1,5', not a decimal number"),
        (Decimal, "NaN", "not a decimal number"),
        (Decimal, "1e999999999", "not a decimal number"),
        (Decimal, True, "it is bool, not a decimal number"),
        (pathlib.Path, 1, "it is int, not a path"),
        (list[Decimal], ["1", "x"], r"\[1\] is 'x', not a decimal number"),
    ],
)
def test_what_is_no_such_text_is_named(annotation: Any, data: Any, message: str) -> None:
    with pytest.raises(Mismatch, match=message):
        convert(annotation, data)


def test_what_people_and_other_languages_write_is_read_as_well() -> None:
    moment = datetime(2026, 11, 21, 16, 52, 27, tzinfo=UTC)
    assert convert(datetime, "2026-11-21T16:52:27Z") == moment
    assert convert(datetime, msgpack.Timestamp.from_datetime(moment)) == moment
    assert convert(Decimal, 12.1) == Decimal("12.1")
    assert convert(Decimal, 12) == Decimal(12)
    assert convert(timedelta, "P2W") == timedelta(weeks=2)
    assert convert(timedelta, "+PT1,5S") == timedelta(seconds=1.5)
    assert convert(uuid.UUID, ID.hex.upper()) == ID
    assert convert(date | datetime, "2026-11-21T16:52:27Z") == moment
    assert convert(datetime | date, "2026-11-21") == date(2026, 11, 21)


def test_the_schema_names_the_class() -> None:
    schema = schema_of(Order)
    assert schema is not None
    assert [value.type for value in schema.values] == [
        "UUID", "datetime", "date | None", "time", "timedelta", "Decimal", "Path", "dict[UUID, list[Decimal]]",
    ]  # fmt: skip


def test_a_class_that_is_no_such_thing_has_no_form() -> None:
    assert form_of(int) is None
    assert form_of(ipaddress.IPv4Address) is None


async def test_a_handler_is_given_them_and_its_caller_gets_what_it_asks_for() -> None:
    service = Service("orders")

    @service.handle("Orders.Later")
    async def later(order: Order) -> datetime:
        assert isinstance(order.price, Decimal)
        return order.at + order.lasts

    request = {"id": str(ID), "at": "2026-11-21T00:00:00Z", "lasts": "PT1H", "price": 1.5, "lines": {}}
    async with service.testing() as client:
        with trio.fail_after(30):
            for content_type in (JSON, MSGPACK):
                said = await client.call("orders", "Orders.Later", request, content_type=content_type)
                assert said == "2026-11-21T01:00:00+00:00"
                moment = await client.call("orders", "Orders.Later", request, reply_type=datetime)
                assert moment == datetime(2026, 11, 21, 1, tzinfo=UTC)
            with pytest.raises(BadRequest, match="id is 'x', not a UUID"):
                await client.call("orders", "Orders.Later", {**request, "id": "x"})
