import pytest

from mesh.only import Only
from sdk.errors import Forbidden, NotFound
from sdk.head import CallHead
from tests.proxy.bench import FakePort

PORT = FakePort("shelf")
JSON = FakePort("json")
ONLY = Only("books", PORT, json=JSON, writes={"Books.Write"}, what="this is a shelf, which calls nobody")


def test_the_one_service_answers_everybody() -> None:
    head = CallHead("books", "Books.Read")
    for target in (ONLY.choose(head, 0.0), ONLY.again(head, 0.0, ()), ONLY.extend(head, 3, 0.0)):
        assert (target.port, target.path, target.load) == (PORT, b"", None)
    assert ONLY.meant_by("books") == ONLY.meant_by("Books") == "books"
    assert ONLY.meant_by("greeter") == ""
    assert ONLY.spoken_by("books") == frozenset()
    ONLY.failed_edge(b"edge", 0.0)


def test_calls_over_http_go_where_others_are_made_of_them_and_raw_ones_nowhere() -> None:
    assert ONLY.choose(CallHead("books", "/Books/Read", "http"), 0.0).port is JSON
    with pytest.raises(NotFound, match="takes no raw connections"):
        ONLY.choose(CallHead("books", "", "tcp"), 0.0, trusted=True)


def test_any_other_service_is_to_be_called_elsewhere() -> None:
    with pytest.raises(NotFound, match="a shelf, which calls nobody: 'greeter'"):
        ONLY.choose(CallHead("greeter", "Greeter.Hello"), 0.0, trusted=True)


@pytest.mark.parametrize("endpoint", ["Books.Write", "/books.Books/Write", "/Books/Write"])
def test_only_trusted_callers_change_it_however_they_write_the_endpoint(endpoint: str) -> None:
    head = CallHead("books", endpoint)
    with pytest.raises(Forbidden):
        ONLY.choose(head, 0.0)
    with pytest.raises(Forbidden):
        ONLY.extend(head, 3, 0.0)
    assert ONLY.choose(head, 0.0, trusted=True).port is PORT
