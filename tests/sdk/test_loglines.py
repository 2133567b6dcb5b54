"""Log lines that nobody else can write."""

import logging
import sys

import pytest

from sdk.loglines import Lines, shown


def written(message: str, error: Exception | None = None) -> list[str]:
    formatter = Lines("%(levelname)s %(name)s: %(message)s")
    record = logging.LogRecord("shop", logging.ERROR, __file__, 1, message, (), None)
    if error is not None:
        try:
            raise error
        except Exception:
            record.exc_info = sys.exc_info()
    return formatter.format(record).split("\n")


def test_a_message_begins_one_line_whatever_is_in_it() -> None:
    assert written("paid") == ["ERROR shop: paid"]
    assert written("paid\nERROR shop: forged\x1b[2J") == ["ERROR shop: paid", r"  ERROR shop: forged\x1b[2J"]


def test_what_a_caller_sent_begins_no_line_of_a_traceback() -> None:
    first, *others = written("raised", ValueError("no user \x1b]0;x\x07\nERROR shop: forged\rERROR"))
    assert first == "ERROR shop: raised"
    assert others[0].startswith("  Traceback")
    assert others[-2:] == [r"  ValueError: no user \x1b]0;x\x07", r"  ERROR shop: forged\rERROR"]
    assert all(line.startswith("  ") for line in others)


@pytest.mark.parametrize(
    ("text", "seen"), [("Grüße, 世界", "Grüße, 世界"), ("a\x00\x9b1m\u202eb", r"a\x00\x9b1m\u202eb"), ("\t", r"\t")]
)
def test_only_what_prints_is_shown_as_it_is(text: str, seen: str) -> None:
    assert shown(text) == seen
