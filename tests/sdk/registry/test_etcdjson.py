"""What is said to etcd, against answers as etcd 3.4 gives them and go-micro's way to name keys."""

import base64

import pytest

from sdk.errors import RemoteProtocolError
from sdk.registry.etcdjson import (
    Kept,
    Page,
    Refusal,
    Told,
    compare_requests,
    delete_requests,
    parse_page_untrusted,
    parse_refusal_untrusted,
    parse_told_untrusted,
    parts,
    path_of,
    range_request,
    service_prefix,
)


def plain(text: str) -> str:
    return base64.b64decode(text).decode()


def test_a_key_is_named_as_go_micro_names_it() -> None:
    assert path_of(("go.micro.greeter", "latest", "go.micro.greeter-1")) == (
        "/micro/registry/go.micro.greeter/go.micro.greeter-1"
    )
    assert path_of(("a/b", "1", "c/d/e")) == "/micro/registry/a-b/c-d-e"
    assert service_prefix("a/b") == "/micro/registry/a-b/"


def test_a_range_is_all_that_begins_with_the_prefix() -> None:
    request = range_request("/micro/registry/a/", limit=3)
    assert (plain(request["key"]), plain(request["range_end"])) == ("/micro/registry/a/", "/micro/registry/a0")
    following = range_request("/micro/registry/a/", limit=3, after="/micro/registry/a/é", revision=7)
    assert plain(following["key"]) == "/micro/registry/a/é\0"
    assert (following["limit"], following["revision"]) == ("3", "7")


def test_many_records_are_written_in_parts_that_etcd_takes() -> None:
    assert [len(part) for part in parts({str(number): "x" for number in range(201)})] == [100, 100, 1]
    assert [len(part) for part in parts({str(number): "x" * 300_000 for number in range(7)})] == [3, 3, 1]
    assert list(parts({"a": "x" * 2_000_000, "b": "y"})) == [{"a": "x" * 2_000_000}, {"b": "y"}]
    assert list(parts({})) == []
    assert [len(one["success"]) for one in delete_requests(map(str, range(101)))] == [100, 1]
    assert [len(one["compare"]) for one in compare_requests(dict.fromkeys(map(str, range(101)), 3))] == [100, 1]


def test_a_page_is_read() -> None:
    body = b"""{"header":{"cluster_id":"1","revision":"9"},"kvs":[{"key":"L2E=","create_revision":"2",
        "mod_revision":"3","version":"1","value":"eA=="},{"key":"L2I="}],"more":true,"count":"3"}"""
    assert parse_page_untrusted(body) == Page(9, [Kept("/a", "x", 3), Kept("/b", "", 0)], True)
    assert parse_page_untrusted(b'{"header":{"revision":"1"}}') == Page(1, [], False)
    [kept] = parse_page_untrusted(b'{"kvs":[{"key":"L2E=","value":"/w=="}]}').kept
    assert kept.value == "\udcff"


def test_the_lines_of_a_watch_are_read() -> None:
    assert parse_told_untrusted(b'{"result":{"header":{"revision":"2"},"created":true}}') == Told([], "", False)
    changed = b"""{"result":{"events":[{"kv":{"key":"L2E=","mod_revision":"2","value":"eA=="}},
        {"type":"DELETE","kv":{"key":"L2E=","mod_revision":"3"}}]}}"""
    assert parse_told_untrusted(changed) == Told([Kept("/a", "x", 2), Kept("/a", None, 3)], "", False)
    compacted = parse_told_untrusted(b'{"result":{"header":{},"canceled":true,"compact_revision":"2"}}')
    assert compacted.compacted
    assert compacted.ended
    denied = b'{"result":{"created":true,"canceled":true,"cancel_reason":"permission denied"}}'
    assert parse_told_untrusted(denied) == Told([], "permission denied", False)
    broken = b'{"error":{"grpc_code":14,"http_code":503,"message":"transport is closing","http_status":"x"}}'
    assert parse_told_untrusted(broken) == Told([], "transport is closing", False)


def test_an_error_is_read() -> None:
    lost = b'{"error":"no lease","message":"no lease","code":5}'
    assert parse_refusal_untrusted(lost) == Refusal(5, "no lease")
    assert parse_refusal_untrusted(b'{"error":"no message"}') == Refusal(2, "no message")
    assert parse_refusal_untrusted(b"{}") == Refusal(2, "")


@pytest.mark.parametrize(
    "body",
    [
        b"404 page not found",
        b"[]",
        b'{"kvs":{}}',
        b'{"kvs":[1]}',
        b'{"kvs":[{"key":"?"}]}',
        b'{"header":{"revision":3}}',
        b'{"header":{"revision":"x"}}',
        b'{"header":[]}',
        b'{"header":{"revision":"999999999999999999999"}}',
    ],
)
def test_what_is_not_etcds_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_page_untrusted(body)
