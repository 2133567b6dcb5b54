"""The HTTP client of registries, against servers that answer as they were told to."""

import ssl
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
import trio.testing
import trustme

from sdk.errors import BadRequest, Unavailable
from sdk.registry.http import HttpClient

Serve = Callable[[trio.abc.Stream], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def listen(nursery: trio.Nursery, serve: Serve, tls: ssl.SSLContext | None = None) -> int:
    """Serves each connection by `serve`; returns the port."""

    async def one(stream: trio.SocketStream) -> None:
        async with stream:
            await serve(stream if tls is None else trio.SSLStream(stream, tls, server_side=True, https_compatible=True))

    [listener] = await nursery.start(partial(trio.serve_tcp, one, 0, host="127.0.0.1"))
    port = listener.socket.getsockname()[1]
    assert isinstance(port, int)
    return port


def answering(*answers: bytes, heard: list[bytes] | None = None) -> Serve:
    """On one connection, one answer after each request; then it closes."""

    async def serve(stream: trio.abc.Stream) -> None:
        for answer in answers:
            data = b""
            while b"\r\n\r\n" not in data or (b"content-length: 7" in data and not data.endswith(b"}")):
                piece = await stream.receive_some()
                if not piece:
                    return
                data += piece
            if heard is not None:
                heard.append(data)
            await stream.send_all(answer)

    return serve


async def silent(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def test_a_request_is_sent_as_it_was_meant_and_answered(nursery: trio.Nursery) -> None:
    heard: list[bytes] = []
    answer = b"HTTP/1.1 404 Not Found\r\nX-Index: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n1\r\n!\r\n0\r\n\r\n"
    port = await listen(nursery, answering(answer, heard=heard))
    url = f"http://us%40er:pass%3Aword@127.0.0.1:{port}/base/"
    async with HttpClient(url, headers={"X-Token": "t"}) as http:
        status, headers, body = await http.request(
            "PUT", "/a b/ü?", query={"q": "1&2"}, json={"a": 1}, headers={"x-b": "c"}
        )
    assert (status, headers["x-index"], body) == (404, "7", b"no!")
    [said] = heard
    assert said.startswith(b"PUT /base/a%20b/%C3%BC%3F?q=1%262 HTTP/1.1\r\n")
    assert said.endswith(b'\r\n\r\n{"a":1}')
    lines = said.lower().split(b"\r\n")
    for line in (f"host: 127.0.0.1:{port}", "x-token: t", "x-b: c", "content-type: application/json"):
        assert line.encode() in lines
    assert b"Basic dXNAZXI6cGFzczp3b3Jk" in said


async def test_a_connection_is_used_again_while_it_lives(nursery: trio.Nursery) -> None:
    connections = 0

    async def serve(stream: trio.abc.Stream) -> None:
        nonlocal connections
        connections += 1
        await answering(OK, OK)(stream)

    port = await listen(nursery, serve)
    async with HttpClient(f"http://127.0.0.1:{port}") as http:
        for expected in (1, 1, 2, 2, 3):
            assert (await http.request("GET", "/")).body == b"ok"
            assert connections == expected
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_lines_come_one_by_one_however_they_are_cut(nursery: trio.Nursery) -> None:
    more = trio.Event()

    async def serve(stream: trio.abc.Stream) -> None:
        await answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\none\nt\r\n")(stream)
        await more.wait()
        await stream.send_all(b"9\r\nwo\r\n\nthre\r\n1\r\ne\r\n0\r\n\r\n")

    port = await listen(nursery, serve)
    async with HttpClient(f"http://127.0.0.1:{port}") as http, http.stream("GET", "/") as lines:
        assert lines.status == 200
        assert await anext(lines) == b"one"
        with trio.move_on_after(0.01) as scope:
            await anext(lines)
        assert scope.cancelled_caught
        more.set()
        assert [line async for line in lines] == [b"two", b"", b"three"]


async def test_a_line_that_waits_is_told_when_the_client_closes(nursery: trio.Nursery) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")(stream)
        await trio.sleep_forever()

    http = HttpClient(f"http://127.0.0.1:{await listen(nursery, serve)}")
    await http.__aenter__()
    async with http.stream("GET", "/") as lines:

        async def close_once_it_waits() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await http.__aexit__(None, None, None)

        nursery.start_soon(close_once_it_waits)
        with pytest.raises(trio.ClosedResourceError):
            await anext(lines)
    with pytest.raises(trio.ClosedResourceError):
        await http.request("GET", "/")


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (silent, "no answer to GET /x within 0.2 s"),
        (answering(), "closed"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), "rules of HTTP"),
        (answering(b"no HTTP at all\r\n\r\n"), "rules of HTTP"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101), "longer than 100 bytes"),
    ],
    ids=["silence", "an end", "a part", "rubbish", "too much"],
)
async def test_an_answer_that_does_not_come_whole_names_the_server_and_no_secret(
    nursery: trio.Nursery, serve: Serve, reason: str
) -> None:
    port = await listen(nursery, serve)
    url = f"http://user:secret@127.0.0.1:{port}"
    async with HttpClient(url, patience=0.2 if serve is silent else 50, longest_answer=100) as http:
        with pytest.raises(Unavailable) as caught:
            await http.request("GET", "/x")
        assert reason in str(caught.value)
        assert f"http://127.0.0.1:{port} " in str(caught.value)
        assert "secret" not in repr(caught.value) + repr(http) + http.url


async def test_a_stream_without_a_head_or_with_an_endless_line_is_given_up(nursery: trio.Nursery) -> None:
    port = await listen(nursery, silent)
    async with HttpClient(f"http://127.0.0.1:{port}", patience=0.05) as http:
        with pytest.raises(Unavailable, match=r"within 0\.05 s"):
            async with http.stream("GET", "/"):
                pytest.fail("nothing was answered")
    port = await listen(nursery, answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101))
    async with HttpClient(f"http://127.0.0.1:{port}", longest_answer=100) as http, http.stream("GET", "/") as lines:
        with pytest.raises(Unavailable, match="a line is longer than 100 bytes"):
            await anext(lines)


async def test_a_request_that_was_cancelled_leaves_nothing_behind(nursery: trio.Nursery) -> None:
    ended = trio.Event()
    scope = trio.CancelScope()

    async def serve(stream: trio.abc.Stream) -> None:
        while await stream.receive_some():
            scope.cancel()
        ended.set()

    port = await listen(nursery, serve)
    async with HttpClient(f"http://127.0.0.1:{port}") as http:
        with scope:
            await http.request("GET", "/")
        with trio.fail_after(30):
            await ended.wait()


async def test_nobody_at_the_port_is_said_so() -> None:
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        async with HttpClient(f"http://127.0.0.1:{sock.getsockname()[1]}") as http:
            with pytest.raises(
                Unavailable,
                match=r"cannot be used: connection refused; see --registry-address \(MICRO_REGISTRY_ADDRESS\)$",
            ):
                await http.request("GET", "/")


async def test_a_name_that_no_host_can_have_is_said_so() -> None:
    async with HttpClient("http://a..b") as client:
        with pytest.raises(Unavailable, match="no name of a host"):
            await client.request("GET", "/")


async def test_a_server_is_known_by_its_authority_and_shown_our_certificate(nursery: trio.Nursery) -> None:
    ours, others = trustme.CA(), trustme.CA()
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.issue_cert("127.0.0.1").configure_cert(theirs)
    ours.configure_trust(theirs)
    theirs.verify_mode = ssl.CERT_REQUIRED

    async def serve(stream: trio.abc.Stream) -> None:
        try:
            await answering(OK)(stream)
        except trio.BrokenResourceError:
            pass  # some of the clients below do not like what they see, others are not liked

    url = f"https://127.0.0.1:{await listen(nursery, serve, theirs)}"
    good = ssl.create_default_context()
    ours.configure_trust(good)
    ours.issue_cert("client").configure_cert(good)
    async with HttpClient(url, tls=lambda: good) as http:
        assert (await http.request("GET", "/")).body == b"ok"
    foreign = ssl.create_default_context()
    others.configure_trust(foreign)
    for tls in ((lambda: foreign), None):
        async with HttpClient(url, tls=tls) as http:
            with pytest.raises(Unavailable, match="certificate is not trusted"):
                await http.request("GET", "/")


async def test_who_speaks_tls_to_one_that_does_not_is_told_so_and_the_other_way_around(nursery: trio.Nursery) -> None:
    async def leave(stream: trio.abc.Stream) -> None:
        await stream.receive_some()

    port = await listen(nursery, leave)
    for scheme, says in (("https", "it does not speak TLS"), ("http", r"does it speak TLS \(etcds://, consuls://\)\?")):
        async with HttpClient(f"{scheme}://127.0.0.1:{port}") as http:
            with pytest.raises(Unavailable, match=says):
                await http.request("GET", "/")


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://h:1", "http://", "http://h:99999", "http://u:secret@[h:1"])
def test_what_is_no_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(BadRequest) as caught:
        HttpClient(url)
    assert "secret" not in str(caught.value)


async def test_a_header_that_is_none_is_refused_without_being_repeated(nursery: trio.Nursery) -> None:
    port = await listen(nursery, silent)
    async with HttpClient(f"http://127.0.0.1:{port}", headers={"x-token": "sec\nret"}) as http:
        with pytest.raises(BadRequest) as caught:
            await http.request("GET", "/")
    assert "ret" not in str(caught.value).replace("registry", "")
