"""HTTP/1.1 through a node, over real sockets: with bytes, and with curl where it is installed."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from sdk.rawsocket import RawSocket, open_tcp

from .web import WebNode, web_node

GET = b"GET /hello HTTP/1.1\r\nHost: web\r\n\r\n"


async def answer(program: RawSocket) -> tuple[str, bytes]:
    """The next answer that says how long it is: its head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await receive(program)
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    while len(body) < int(fields["content-length"]):
        body += await receive(program)
    assert len(body) == int(fields["content-length"]), "more came than was asked for"
    return head.decode(), body


async def receive(program: RawSocket) -> bytes:
    data = await program.receive_some()
    assert data, "the connection ended"
    return data


async def test_a_request_reaches_the_instance_and_its_answer_the_program() -> None:
    with trio.fail_after(30):
        async with web_node() as node:
            program = await open_tcp(node.address)
            for _ in range(3):
                await program.send_all(GET)
                head, body = await answer(program)
                assert head.startswith("HTTP/1.1 200 OK\r\n")
                said = json.loads(body)
                assert (said["method"], said["target"]) == ("GET", "/hello")
                assert ["via", "1.1 micro"] in said["fields"]
                assert ["forwarded", "for=127.0.0.1;proto=http"] in said["fields"]
            await program.aclose()
            await node.until_idle()
            assert node.dialled == 1


async def test_many_programs_share_few_connections_to_an_instance() -> None:
    async def ask(node: WebNode) -> None:
        program = await open_tcp(node.address)
        for _ in range(20):
            await program.send_all(GET)
            await answer(program)
        await program.aclose()

    with trio.fail_after(20):
        async with web_node() as node:
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(ask, node)
            assert node.dialled <= 10
            assert node.switch.statistics()["calls"] == 200


async def test_a_program_that_leaves_breaks_its_request_off_at_the_instance() -> None:
    with trio.fail_after(30):
        async with web_node() as node:
            program = await open_tcp(node.address)
            await program.send_all(b"GET /never HTTP/1.1\r\nHost: web\r\n\r\n")
            await node.server.asked.wait()
            await program.aclose()
            await node.server.broken.wait()
            await node.until_idle()


async def test_an_answer_that_comes_before_the_body_arrives_whole() -> None:
    with trio.fail_after(30):
        async with web_node() as node:
            program = await open_tcp(node.address)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_much, program)
                head, body = await answer(program)
                nursery.cancel_scope.cancel()
            assert head.startswith("HTTP/1.1 413")
            assert body == b"too long\n"
            await program.aclose()
            await node.until_idle()


async def send_much(program: RawSocket) -> None:
    await program.send_all(b"POST /early HTTP/1.1\r\nHost: web\r\nContent-Length: 50000000\r\n\r\n")
    try:
        for _ in range(500):
            await program.send_all(bytes(100_000))
    except trio.BrokenResourceError:
        pass


async def test_ten_thousand_requests_at_once_are_answered_as_far_as_their_answers_are_read() -> None:
    async def ask(program: RawSocket) -> None:
        await program.send_all(b"GET /bytes/50000 HTTP/1.1\r\nHost: web\r\n\r\n" * 10_000)

    async with web_node() as node, await open_tcp(node.address) as program:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, program)
            await trio.testing.wait_all_tasks_blocked(0.05)
            before = node.server.answered
            assert 0 < before < 1000  # the rest of them is in the sockets
            assert node.open_calls <= 1
            while node.server.answered == before:
                await program.receive_some()
            nursery.cancel_scope.cancel()
        program.close()
        await node.until_idle()


async def test_an_unknown_service_and_a_request_that_is_none_are_told_so() -> None:
    with trio.fail_after(30):
        async with web_node() as node:
            program = await open_tcp(node.address)
            await program.send_all(GET.replace(b"web", b"nobody"))
            head, body = await answer(program)
            assert head.startswith("HTTP/1.1 404 Not Found\r\n")
            assert b"nobody" in body
            await program.send_all(b"GET / HTTP/1.1\nHost: web\n\n")
            head, body = await answer(program)
            assert head.startswith("HTTP/1.1 400 Bad Request\r\n")
            assert await program.receive_some() == b""
            await program.aclose()


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


def converse(address: str) -> list[str | bytes]:
    """Says a few things over a WebSocket to the service `web`, and hears them again."""
    heard = []
    with connect(f"ws://{address}/chat", additional_headers={"Micro-Service": "web"}, proxy=None) as connection:
        for message in ("hello", bytes(1_000_000), "x" * 100_000):
            connection.send(message)
            heard.append(connection.recv())
    return heard


async def test_a_websocket_goes_through() -> None:
    with trio.fail_after(20), serve(echo, "127.0.0.1", 0) as server:
        host, port = server.socket.getsockname()
        async with web_node() as node, trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, server.serve_forever)
            node.server.address = f"{host}:{port}"
            assert await trio.to_thread.run_sync(converse, node.address) == ["hello", bytes(1_000_000), "x" * 100_000]
            await node.until_idle()
            await trio.to_thread.run_sync(server.shutdown)  # it waits for what the node says: not in the node's thread


async def curl(*arguments: str) -> bytes:
    """What curl wrote; it fails where curl does."""
    done = await trio.run_process(["curl", "-sS", "--max-time", "20", *arguments], capture_stdout=True)
    return done.stdout


@pytest.mark.peers
class TestCurl:
    """curl as program: by Host, by Micro-Service, and with the node as its proxy."""

    @pytest.fixture(autouse=True)
    def _installed(self, require: Any) -> None:
        require("curl")

    async def test_the_service_may_be_named_in_three_ways(self) -> None:
        async with web_node() as node:
            for way in (
                ("-x", f"http://{node.address}", "http://web/a?b=c"),
                ("-H", "Host: web", f"http://{node.address}/a?b=c"),
                ("-H", "Micro-Service: web", f"http://{node.address}/a?b=c"),
            ):
                said = json.loads(await curl(*way))
                assert (said["method"], said["target"]) == ("GET", "/a?b=c")

    async def test_megabytes_go_up_and_down(self, tmp_path: Path) -> None:
        much = tmp_path / "much"
        much.write_bytes(bytes(30_000_000))
        async with web_node() as node:
            proxy = ("-x", f"http://{node.address}")
            for more in ((), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect:"), ("-H", "Expect: 100-continue")):
                said = json.loads(await curl(*proxy, "-T", str(much), *more, "http://web/up"))
                assert (said["method"], said["size"]) == ("PUT", 30_000_000)
            heard = await curl(*proxy, "-D", "-", "http://web/bytes/30000000")
            head, _, body = heard.partition(b"\r\n\r\n")
            assert b"transfer-encoding: chunked" in head
            assert body.startswith(b"\0")
            assert body.count(b"\0") == 30_000_000
            await node.until_idle()

    async def test_one_connection_takes_request_after_request(self) -> None:
        async with web_node() as node:
            to = ("-o", "/dev/null")
            urls = (*to, "http://web/1", *to, "http://web/2", *to, "http://web/3")
            out = await curl("-x", f"http://{node.address}", "-w", "%{num_connects}\\n", *urls)
            assert out.split() == [b"1", b"0", b"0"]

    async def test_head_http_1_0_and_errors_are_what_curl_expects(self) -> None:
        async with web_node() as node:
            proxy = ("-x", f"http://{node.address}")
            assert (await curl(*proxy, "-I", "http://web/")).startswith(b"HTTP/1.1 200 OK\r\n")
            assert json.loads(await curl(*proxy, "-0", "http://web/"))["method"] == "GET"
            assert len(await curl(*proxy, "-0", "http://web/bytes/100000")) == 100_000
            status = await curl(*proxy, "-o", "/dev/null", "-w", "%{http_code}", "http://nobody/")
            assert status == b"404"
            said = await curl(*proxy, "-F", "a=b", "http://web/form")
            assert json.loads(said)["method"] == "POST"
