"""Which requests may be those of a web page under a name that leads here without its visitor knowing."""

import pytest

from sdk.wire.pages import site_of

FIREFOX = [("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
           ("accept", "*/*"), ("accept-language", "en-GB,en;q=0.5")]  # fmt: skip


def test_a_request_of_a_page_is_known_by_the_name_of_its_site() -> None:
    assert site_of(FIREFOX, "Evil.Example:8081") == "evil.example"
    assert site_of(FIREFOX, "evil.example.") == "evil.example"


@pytest.mark.parametrize(
    "fields",
    [
        [("accept-language", "*")],
        [("origin", "http://evil.example")],
        [("user-agent", "Mozilla/5.0"), ("x-forwarded-for", "10.0.0.1")],
        [("user-agent", "curl/8"), ("accept-language", "en"), ("forwarded", "for=10.0.0.1")],
    ],
)
def test_a_page_cannot_hide_that_a_browser_asks_for_it(fields: list[tuple[str, str]]) -> None:
    assert site_of(fields, "evil.example") == "evil.example"


@pytest.mark.parametrize(
    "authority", ["127.0.0.1:8081", "[::1]:8081", "localhost:8081", "node-a:8081", "a.localhost", "laptop.local",
                  "node.svc.cluster.local:8081", "ip-10-0-0-1.ec2.internal", ""],
)  # fmt: skip
def test_a_name_that_no_public_server_answers_for_is_no_site(authority: str) -> None:
    assert site_of(FIREFOX, authority) == ""


@pytest.mark.parametrize("field", ["via", "proxy-authorization", "sec-fetch-site"])
def test_what_no_page_can_say_tells_a_front_end(field: str) -> None:
    assert site_of([*FIREFOX, (field, "1.1 front")], "shop.example") == ""


def test_a_program_that_is_no_browser_may_call_a_node_by_its_public_name() -> None:
    assert site_of([("user-agent", "curl/8.5.0"), ("accept", "*/*")], "node.example.com:8081") == ""
