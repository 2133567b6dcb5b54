"""Names by what they are in lower case."""

from router.spellings import Spellings


def test_names_with_capitals_are_found_by_what_they_are_in_lower_case() -> None:
    spellings = Spellings(["Web", "web", "wEB", "Ärger"])
    assert spellings.of("web") == ["Web", "wEB"]
    assert spellings.of("ärger") == ["Ärger"]
    assert spellings.of("Web") == []


def test_a_name_that_was_taken_out_is_not_found() -> None:
    spellings = Spellings(["Web"])
    spellings.add("WEB")
    for name in ("Web", "web", "other", "Other"):
        spellings.discard(name)
    assert spellings.of("web") == ["WEB"]
    spellings.discard("WEB")
    spellings.discard("WEB")
    assert spellings.of("web") == []
