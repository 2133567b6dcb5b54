"""Which fields may be, how long a body is said to be, and gRPC's times and sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.port.http2.fields import (
    escape,
    is_field,
    length_untrusted,
    only_fields,
    split_untrusted,
    unescape,
)
from sdk.wire.http2 import StreamFault


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_message_comes_back_as_it_was_and_is_a_field_on_the_way(message: str) -> None:
    assert unescape(escape(message)) == message
    assert escape(message).isascii()
    assert escape(message).isprintable() or not message


def test_a_message_that_was_never_escaped_stays_as_it_is() -> None:
    assert unescape("100% sure") == "100% sure"
    assert escape("\ud800") == "%3F"


@pytest.mark.parametrize("value", ["", "a", "a b", "\xe9", "a\tb", '"'])
def test_values_that_may_be(value: str) -> None:
    assert is_field("x-a", value)


@pytest.mark.parametrize("value", [" a", "a ", "\ta", "a\0", "a\nb", "a\rb", " "])
def test_values_that_may_not_be_rfc9113_8_2_1(value: str) -> None:
    assert not is_field("x-a", value)
    with pytest.raises(StreamFault):
        split_untrusted(("x-a", value), frozenset())


@pytest.mark.parametrize("name", ["", "A", "a b", "a:", "\xe9", ":path", "a\0"])
def test_names_that_may_not_be_rfc9113_8_2_1(name: str) -> None:
    assert not is_field(name, "a")
    with pytest.raises(StreamFault):
        split_untrusted((name, "a"), frozenset())


def test_metadata_that_can_be_no_field_stays_behind() -> None:
    metadata = (":path", "/", "a", "1", "B", "2", "c", "x\ny", "d", "4", "a", "5")
    assert only_fields(metadata, frozenset(("d",))) == ("a", "1", "a", "5")


@pytest.mark.parametrize(
    ("values", "length"), [((), -1), (("0",), 0), (("12",), 12), (("12", "12"), 12)], ids=["none", "0", "12", "twice"]
)
def test_the_length_of_a_body(values: tuple[str, ...], length: int) -> None:
    assert length_untrusted([("content-length", value) for value in values]) == length


@pytest.mark.parametrize("values", [("",), ("-1",), ("+1",), ("1 ",), ("1", "2"), ("9" * 19,), ("\u0661",)])
def test_a_length_that_is_none_is_malformed(values: tuple[str, ...]) -> None:
    with pytest.raises(StreamFault):
        length_untrusted([("content-length", value) for value in values])
