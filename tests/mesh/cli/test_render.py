"""Printing: columns stand under their headings, and no name from another machine reaches the terminal's controls."""

import io
import json

from hypothesis import example, given
from hypothesis import strategies as st

from mesh.cli import render
from sdk.types import Value

HOSTILE = st.text() | st.text(alphabet="\x00\x07\x1b[2Jm\n\r\t\x7f\x9b\u202e\u2066a")


def test_columns_are_aligned_and_lines_have_no_tail() -> None:
    assert render.table(("ID", "ADDRESS"), [("a", "10.0.0.1:1"), ("longer", "")]) == (
        "ID      ADDRESS\n"
        "a       10.0.0.1:1\n"
        "longer"
    )  # fmt: skip


@given(st.text(alphabet="aé\u20ac\U0001f600\udc80\n"), st.sampled_from(["ascii", "latin-1", "utf-8"]))
def test_what_an_encoding_has_no_bytes_for_is_written_as_json_does(text: str, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    render.escape_what_does_not_fit(stream, None)
    stream.write(render.to_json(text))
    stream.seek(0)
    assert json.loads(stream.read()) == text


def test_a_table_without_rows_is_its_headings() -> None:
    assert render.table(("NODE", "ADDRESS"), []) == "NODE  ADDRESS"


@given(st.lists(st.tuples(HOSTILE, HOSTILE, st.integers() | st.none())))
def test_every_row_of_a_table_is_one_line(rows: list[tuple[str, str, int | None]]) -> None:
    lines = render.table(("A", "B", "C"), rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)


@given(HOSTILE)
@example("\x1b[31mred\u202e")
def test_printable_text_moves_no_cursor(text: str) -> None:
    assert render.printable(text).isprintable()
    if text.isprintable():
        assert render.printable(text) == text


@given(st.recursive(HOSTILE | st.integers() | st.none(), lambda each: st.lists(each) | st.dictionaries(HOSTILE, each)))
def test_json_comes_back_as_it_was_and_obeys_nothing(value: object) -> None:
    text = render.to_json(value)
    assert json.loads(text) == value
    assert json.loads(render.to_json_line(value)) == value
    assert render.to_json_line(value).isprintable() or "\u2028" in text or not text.isascii()
    for char in "\x1b\x7f\x9b\u202e\u2066":
        assert char not in text


def test_json_for_people_keeps_their_letters_and_is_indented() -> None:
    assert render.to_json({"msg": "Grüße"}) == '{\n  "msg": "Grüße"\n}'


def test_bytes_in_an_answer_are_shown_as_base64() -> None:
    assert render.to_json_line({"data": b"ab\xff"}) == '{"data": "YWL/"}'


def test_a_status_is_one_line_for_each_key_and_for_each_record_of_a_list() -> None:
    status = {
        "id": "abc",
        "links": 2,
        "proxy": ["127.0.0.1:1", "127.0.0.1:2"],
        "registry": {"state": "current", "error": ""},
        "seeds": [{"address": "x:1", "state": "linked"}, {"address": "y:2", "state": "waiting"}],
        "none": [],
        "twin": False,
    }
    assert render.pairs(status).splitlines() == [
        "id        abc",
        "links     2",
        "proxy     127.0.0.1:1, 127.0.0.1:2",
        "registry  state=current",
        "seeds     address=x:1 state=linked",
        "          address=y:2 state=waiting",
        "none",
        "twin      no",
    ]


def test_a_graph_is_indented_below_its_root() -> None:
    leaf = {"node": {"id": "ccc", "address": "c:1", "name": "c"}}
    middle = {"node": {"id": "bbb", "address": "b:1", "name": ""}, "peers": [leaf]}
    root = {"node": {"id": "aaa", "address": "", "name": "a"}, "peers": [middle, leaf]}
    assert render.tree(root).splitlines() == ["a  aaa", "    bbb  b:1", "        c  ccc  c:1", "    c  ccc  c:1"]


def test_a_schema_shows_fields_within_fields() -> None:
    inner = Value(name="address", type="Address", values=(Value(name="street", type="str"),))
    value = Value(name="Person", type="Person", values=(Value(name="name", type="str"), inner))
    assert render.schema(value).splitlines() == [
        "Person Person {",
        "  name str",
        "  address Address {",
        "    street str",
        "  }",
        "}",
    ]
    assert render.schema(None) == "any"


def test_labels_are_sorted() -> None:
    assert render.metadata({"zone": "b", "native": "1"}) == "native=1,zone=b"
