"""Which service a request means, and that what is read is written again."""

import pytest

from sdk.errors import RemoteProtocolError
from sdk.head import CallHead, pack_call_head, parse_call_head_untrusted
from sdk.port.http2.requests import first_meant, is_grpc, read_request_untrusted, write_request_untrusted
from sdk.wire import frame
from sdk.wire.hpack import Headers
from sdk.wire.http2 import StreamFault


def asked(authority: str, path: str, *more: str, method: str = "POST") -> Headers:
    leading = (":method", method, ":scheme", "http", ":path", path, ":authority", authority)
    return (*leading, "te", "trailers", "content-type", "application/grpc", *more)


@pytest.mark.parametrize(
    ("headers", "names"),
    [
        (asked("node:8081", "/greeter.Greeter/Hello"), ("node", "greeter")),
        (asked("greeter", "/go.micro.Other/Hello"), ("greeter", "go.micro")),
        (asked("127.0.0.1:8081", "/a.b.Greeter/Hello"), ("a.b",)),
        (asked("[::1]:8081", "/greeter.Greeter/Hello"), ("greeter",)),
        (asked("localhost:8081", "/Greeter/Hello"), ("greeter",)),
        (asked("", "/Greeter/Hello"), ("greeter",)),
        (asked("node", "/greeter.Greeter/Hello", "micro-service", "other"), ("other",)),
        (asked("node", "/", "micro-service", "", method="GET"), ("node",)),
        (asked("user@greeter:1", "/", method="GET"), ("greeter",)),
        (asked("10.0.0.1", "/greeter.Greeter/Hello", method="GET"), ()),
        (asked("localhost", "/", "host", "greeter"), ()),
    ],
)
def test_the_services_that_a_request_may_mean(headers: Headers, names: tuple[str, ...]) -> None:
    assert read_request_untrusted(headers).names == names


def test_without_an_authority_the_host_counts_rfc9113_8_3_1() -> None:
    headers = (":method", "GET", ":scheme", "http", ":path", "/", "host", "greeter:80")
    assert read_request_untrusted(headers).names == ("greeter",)


@pytest.mark.parametrize(
    ("known", "meant"),
    [
        (("greeter", "node"), "node"),
        (("greeter",), "greeter"),
        (("Node", "greeter"), "Node"),
        (("Greeter",), "back end"),
        ((), "back end"),
    ],
)
def test_the_service_that_the_host_means_is_meant_or_the_first_that_is_known_else_the_likeliest(
    known: tuple[str, ...], meant: str
) -> None:
    def meant_by(host: str) -> str:
        return next((name for name in known if name.lower() == host), "")

    request = read_request_untrusted(asked("node", "/greeter.Greeter/Hello"), otherwise="back end")
    assert first_meant(meant_by)(request) == meant


def test_how_long_a_request_may_take_is_said_to_http_as_to_grpc() -> None:
    for method in ("POST", "GET"):
        assert read_request_untrusted(asked("node", "/a", "grpc-timeout", "2S", method=method)).ms == 2000
    with pytest.raises(StreamFault, match="grpc-timeout"):
        read_request_untrusted(asked("node", "/", "grpc-timeout", "2s"))


def test_a_host_that_means_no_service_is_the_one_that_is_missing() -> None:
    request = read_request_untrusted(asked("Node", "/", method="GET"))
    assert first_meant(lambda host: "")(request) == "Node"
    assert first_meant(str.lower)(request) == "node"


@pytest.mark.parametrize(
    ("content_type", "grpc"),
    [("application/grpc", True), ("application/grpc+proto", True), ("application/grpc;a=b", True),
     ("application/grpc-web", False), ("application/json", False), ("", False)],
)  # fmt: skip
def test_what_is_grpc(content_type: str, grpc: bool) -> None:
    assert is_grpc(content_type) is grpc


def test_a_get_of_that_type_is_no_grpc_call() -> None:
    assert not read_request_untrusted(asked("greeter", "/", method="GET")).grpc


def test_what_is_read_is_written_again() -> None:
    fields = ("x-a", "1", "x-b-bin", "AAE=", "x-a", "2")
    request = read_request_untrusted(asked("greeter", "/greeter.Greeter/Hello", *fields))
    opened = frame.split_open_untrusted(request.opened("greeter") + b"i" * 16)
    assert parse_call_head_untrusted(opened.head).call_id == b"i" * 16
    headers, grpc = write_request_untrusted(opened.head, "10.0.0.1:80")
    assert grpc
    assert headers == asked("10.0.0.1:80", "/greeter.Greeter/Hello", *fields)


def test_a_service_name_that_makes_the_head_too_long_for_an_open_is_seen() -> None:
    request = read_request_untrusted(asked("greeter", "/" + "x" * 65000))
    assert request.opened("greeter")
    assert not request.opened("g" * 300)


def test_a_head_is_worked_out_once_for_each_authority_whatever_its_id() -> None:
    heads = [pack_call_head(CallHead("a", "/a/b", "grpc", call_id=bytes([byte]) * 16)) for byte in (1, 2)]
    first, again = (write_request_untrusted(head, "one")[0] for head in heads)
    assert first is again
    assert "two" in write_request_untrusted(heads[0], "two")[0]


def test_a_head_without_an_id_is_not_taken_for_another_one() -> None:
    heads = [pack_call_head(CallHead("a", f"/a/{name}", "grpc")) for name in ("one", "two")]
    paths = [write_request_untrusted(head, "x")[0][5] for head in heads]
    assert paths == ["/a/one", "/a/two"]


def test_a_head_that_no_http2_request_can_be_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="tcp"):
        write_request_untrusted(pack_call_head(CallHead("a", "", "tcp")), "x")
    with pytest.raises(RemoteProtocolError):
        write_request_untrusted(b"\xc1", "x")


def test_a_request_may_also_mean_the_service_behind_a_port_unless_it_names_one_in_so_many_words() -> None:
    headers = asked("1.2.3.4:8081", "/greeter.Greeter/Hello", "content-type", "application/grpc")
    assert read_request_untrusted(headers, otherwise="hello").names == ("greeter", "hello")
    assert read_request_untrusted(asked("localhost", "/", method="GET"), otherwise="hello").names == ("hello",)
    assert read_request_untrusted((*headers, "micro-service", "shop"), otherwise="hello").names == ("shop",)


def test_pins_of_the_connection_stand_behind_those_of_the_request() -> None:
    for content_type, last in (("application/grpc", ()), ("text/plain", ("forwarded", "for=a", "via", "2 micro"))):
        headers = (
            ":method", "POST", ":scheme", "http", ":path", "/a.A/B", ":authority", "a", "content-type", content_type,
            "micro-version", "2",
        )  # fmt: skip
        request = read_request_untrusted(headers, "for=a", "b", ("micro-router", "x"))
        opened = frame.split_open_untrusted(request.opened("a") + b"i" * 16)
        metadata = parse_call_head_untrusted(opened.head).metadata
        assert metadata[-4 - len(last) :] == ("micro-version", "2", "micro-router", "x", *last)


def test_whether_a_program_takes_trailers_goes_on_with_a_request_of_http() -> None:
    leading = (":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
    for te in ((), ("te", "trailers")):
        packed = read_request_untrusted((*leading, *te)).opened("a") + bytes(16)
        metadata = parse_call_head_untrusted(frame.split_open_untrusted(packed).head).metadata
        assert metadata[6:] == ((":te", "trailers") if te else ()) + ("via", "2 micro")


def test_a_connect_is_a_raw_call_with_its_pins_rfc9113_8_5() -> None:
    fields = ("micro-router", "far", "micro-service", "other", "user-agent", "x", "proxy-authorization", "Bearer y")
    request = read_request_untrusted((":method", "CONNECT", ":authority", "db:5432", *fields), "for=a", "back end")
    assert (request.names, request.hosted, request.raw, request.credentials) == (("db",), True, True, "Bearer y")
    packed = frame.split_open_untrusted(request.opened("db") + bytes(16)).head
    call = CallHead("db", "", "tcp", metadata=("micro-router", "far"), call_id=bytes(16))
    assert parse_call_head_untrusted(packed) == call


@pytest.mark.parametrize("headers", [(), (":authority", ":80"), (":authority", "db:1", ":scheme", "http", ":path", "")])
def test_a_connect_that_names_no_service_or_a_path_is_malformed(headers: Headers) -> None:
    with pytest.raises(StreamFault):
        read_request_untrusted((":method", "CONNECT", *headers))
