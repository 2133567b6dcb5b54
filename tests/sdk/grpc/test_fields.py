"""Metadata as grpcio has it, and as calls carry it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.grpc.fields import fields_of, metadata_of


@given(st.lists(st.tuples(st.sampled_from(["a-bin", "b-bin"]), st.binary())))
def test_bytes_come_back_as_they_went(fields: list[tuple[str, bytes]]) -> None:
    assert list(fields_of(metadata_of(fields))) == fields


def test_names_are_in_lower_case_and_may_repeat() -> None:
    metadata = metadata_of((("X-Name", "a"), ("x-name", "b")))
    assert metadata == ("x-name", "a", "x-name", "b")
    assert fields_of(metadata) == (("x-name", "a"), ("x-name", "b"))
    assert metadata_of(None) == ()


def test_binary_values_come_with_padding_without_and_several_in_one() -> None:
    assert fields_of(("a-bin", "/w==,/w,AAA=")) == (("a-bin", b"\xff"), ("a-bin", b"\xff"), ("a-bin", b"\0\0"))


def test_a_binary_value_that_is_none_stays_as_it_came() -> None:
    assert fields_of(("a-bin", "not base64!")) == (("a-bin", "not base64!"),)


@pytest.mark.parametrize("field", [("a", b"bytes"), ("a", 5), ("a-bin", None)])
def test_what_is_neither_text_nor_bytes_is_no_metadata(field: Any) -> None:
    with pytest.raises(TypeError, match="metadata is text"):
        metadata_of([field])
