"""Whom a command asks, when nobody or somebody was named."""

import pytest

from mesh.cli.target import reachable
from sdk.errors import BadRequest


@pytest.mark.parametrize(
    ("listens", "dial"),
    [
        ("staging:8081", "staging:8081"),
        (":8081", "127.0.0.1:8081"),
        ("0.0.0.0:8081", "127.0.0.1:8081"),
        ("[::]:8081", "127.0.0.1:8081"),
        ("[::1]:8081", "[::1]:8081"),
        ("127.0.0.1:0", None),
        ("", None),
        (None, None),
    ],
)
def test_the_address_a_node_listens_on_says_where_to_ask_it(listens: str | None, dial: str | None) -> None:
    assert reachable(listens) == dial


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(BadRequest, match="staging"):
        reachable("staging")
