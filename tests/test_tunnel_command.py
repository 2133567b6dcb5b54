"""`micro tunnel` between environments, as people use it: real processes, the SDK, plain TCP and HTTP through it."""

import hashlib
import http.client
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trio

from sdk.errors import NotFound, Unavailable
from sdk.rawsocket import RawSocket, open_tcp
from tests.net import kept_address
from tests.processes import PATIENCE, run
from tests.proxy.raw import break_off, echo, is_reset, read_to_end, serve
from tests.tunnels import LOCAL, Side, forwarded, sides, until_answered, where

MUCH = 10 << 20


@pytest.fixture
def kept() -> Iterator[str]:
    """The address of a server that comes back."""
    with kept_address() as address:
        yield address


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    """Two environments."""
    with sides(tmp_path, "here", "there") as (here, there):
        yield here, there


class Page(BaseHTTPRequestHandler):
    """Says hello over HTTP."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"hello from over there"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    """The address of a web server that knows nothing of us."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


# Services.


async def test_programs_of_each_side_call_services_of_the_other(two: tuple[Side, Side]) -> None:
    here, there = two
    end = here.serve()
    there.dial(end)
    here.offer("apples")
    there.offer("pears")
    for side, service, place in ((there, "apples", "here"), (here, "pears", "there")):
        async with side.client() as client:
            assert await until_answered(client, service) == place
        call = ("micro", "call", service, "Place.Where", "{}")
        assert run(*call, env={**side.env, "MICRO_PROXY": "go.micro.tunnel"}) == (0, f'"{place}"\n', "")


async def test_only_what_runs_on_the_other_side_is_a_candidate(two: tuple[Side, Side]) -> None:
    here, there = two
    there.dial(here.serve())
    for side in (here, there):
        side.offer("both")
    here.offer("apples")
    async with here.client() as near, there.client() as far:
        assert await until_answered(near, "both") == "there"
        assert await until_answered(far, "both") == "here"
        assert await until_answered(far, "apples") == "here"
        assert {await where(near, "both") for _ in range(20)} == {"there"}
        assert {await where(far, "both") for _ in range(20)} == {"here"}
        with pytest.raises(NotFound, match="no service called 'apples'"):
            await where(near, "apples")


async def test_of_several_servers_one_is_chosen_by_the_id_and_another_by_a_call(tmp_path: Path) -> None:
    with sides(tmp_path, "one", "two", "here") as (one, two, here):
        servers = [side.serve("--id", side.name) for side in (one, two)]
        for side in (one, two):
            side.offer("greeter")
        pinned = here.dial(*servers, flags=("--id", "two"))
        free = here.dial(*servers)
        async with here.client(pinned.address("proxy")) as client:
            for name in ("one", "two"):
                assert await until_answered(client, "greeter", name) == name
            assert {await where(client, "greeter") for _ in range(20)} == {"two"}
            assert await where(client, "greeter", servers[0].address("id")) == "one"
            with pytest.raises(Unavailable, match="'three'"):
                await where(client, "greeter", "three")
        async with here.client(free.address("proxy")) as client:
            for name in ("one", "two"):
                assert await until_answered(client, "greeter", name) == name
            # The one that is pinned goes away, and its calls go nowhere else.
            servers[1].stop(signal.SIGKILL)
            with trio.fail_after(PATIENCE):
                while await until_answered(client, "greeter") != "one":
                    pass
        async with here.client(pinned.address("proxy")) as client:
            with pytest.raises(Unavailable, match="'two'"):
                await where(client, "greeter")


async def test_a_server_carries_nothing_from_one_client_to_another(tmp_path: Path) -> None:
    with sides(tmp_path, "server", "one", "two") as (server, one, two):
        end = server.serve()
        for side in (one, two):
            side.dial(end)
            side.offer(f"of-{side.name}")
        server.offer("of-server")
        async with server.client() as client:
            for name in ("one", "two"):
                assert await until_answered(client, f"of-{name}") == name
        for side, other in ((one, "two"), (two, "one")):
            async with side.client() as client:
                assert await until_answered(client, "of-server") == "server"
                with pytest.raises(NotFound):
                    await where(client, f"of-{other}")
                with pytest.raises(NotFound):
                    await where(client, f"of-{side.name}")


async def test_a_tunnel_whose_server_was_killed_works_again_by_itself(two: tuple[Side, Side], kept: str) -> None:
    here, there = two
    server = here.serve(address=kept)
    client_end = there.dial(server, flags=("--forward", "0:apples"))
    here.offer("apples")
    async with there.client() as client:
        assert await until_answered(client, "apples") == "here"
        server.stop(signal.SIGKILL)
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    await where(client, "apples")
                except (NotFound, Unavailable):
                    break
        here.serve(address=kept)
        assert await until_answered(client, "apples") == "here"
    async with await open_tcp(forwarded(client_end, "apples")):
        pass
    assert client_end.stop()[0] == 0


async def test_a_node_of_a_network_and_an_end_of_a_tunnel_get_along_on_one_host(two: tuple[Side, Side]) -> None:
    here, there = two
    here.env["MICRO_NETWORK_TOKEN"] = "another secret of this test"
    node = here.start("micro", "network", "--address", LOCAL, "--proxy-address", LOCAL)
    there.dial(here.serve())
    for side in (here, there):
        side.offer("both")
    async with here.client() as through, here.client("go.micro.network") as across:
        assert await until_answered(through, "both") == "there"
        assert await until_answered(across, "both") == "here"
        connections = await across.call("go.micro.network", "Network.Connections", {})
        assert connections == {"connections": []}
    assert node.stop()[0] == 0


# Plain TCP.


async def both_ways(stream: trio.SocketStream) -> None:
    """Sends much while it takes what comes, and at the end the hash of that."""
    digest = hashlib.sha256()
    data = bytes(range(256)) * (MUCH // 256)

    async def takes() -> None:
        while part := await stream.receive_some():
            digest.update(part)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(takes)
        await stream.send_all(data)
    await stream.send_all(digest.digest())
    await stream.send_eof()


async def echoing(address: str) -> RawSocket:
    """A connection there, once somebody sends back what is said."""
    return await talking(address, b"hello", said=b"hello")


async def talking(address: str, heard: bytes, said: bytes = b"") -> RawSocket:
    """A connection there, once these words come on one. Who is early waits for some seconds, which may not be enough
    for the ends to find each other on a busy machine."""
    with trio.fail_after(PATIENCE):
        while True:
            program = await open_tcp(address)
            try:
                await program.send_all(said)
                if await program.receive_some() == heard:
                    return program
            except trio.BrokenResourceError:
                pass
            program.close()


async def test_plain_tcp_goes_through_a_local_port_to_an_address_over_there(two: tuple[Side, Side]) -> None:
    here, there = two
    async with trio.open_nursery() as nursery:
        exposed = (
            f"echo={await serve(nursery, echo)}",
            f"much={await serve(nursery, both_ways)}",
            f"odd={await serve(nursery, break_off)}",
        )
        server = here.serve(*(word for each in exposed for word in ("--expose", each)))
        end = there.dial(server, flags=("--forward", "0:echo,0:much", "--forward", "0:odd"))

        # Half-close: everything comes back after we have said that nothing more comes.
        async with await echoing(forwarded(end, "echo")) as program:
            await program.send_all(b" again")
            await program.send_eof()
            assert await read_to_end(program) == b" again"

        # 10 MiB in both directions at once, byte for byte.
        sent = bytes(reversed(range(256))) * (MUCH // 256)
        async with await open_tcp(forwarded(end, "much")) as program, trio.open_nursery() as sending:

            async def sends() -> None:
                await program.send_all(sent)
                await program.send_eof()

            sending.start_soon(sends)
            received = await read_to_end(program)
            assert received[MUCH:] == hashlib.sha256(sent).digest()
            assert received[:MUCH] == bytes(range(256)) * (MUCH // 256)

        # A connection that is broken off over there is broken off here.
        async with await open_tcp(forwarded(end, "odd")) as program:
            await program.send_all(b"x")
            assert await is_reset(program)
        nursery.cancel_scope.cancel()


async def test_a_connection_that_is_broken_off_here_is_broken_off_over_there(two: tuple[Side, Side]) -> None:
    here, there = two
    ended: list[str] = []
    over = trio.Event()

    async def notes(stream: trio.SocketStream) -> None:
        await stream.send_all(b"connected")
        try:
            await read_to_end(stream)
            ended.append("closed")
        except trio.BrokenResourceError:
            ended.append("broken")
        over.set()

    async with trio.open_nursery() as nursery:
        server = here.serve("--expose", f"notes={await serve(nursery, notes)}")
        end = there.dial(server, flags=("--forward", "0:notes"))
        program = await talking(forwarded(end, "notes"), b"connected")
        program.abort()
        with trio.fail_after(PATIENCE):
            await over.wait()
        assert ended == ["broken"]
        nursery.cancel_scope.cancel()


async def test_an_open_connection_breaks_when_the_tunnel_does_and_the_next_one_works(
    two: tuple[Side, Side], kept: str
) -> None:
    here, there = two
    async with trio.open_nursery() as nursery:
        expose = ("--expose", f"echo={await serve(nursery, echo)}")
        server = here.serve(*expose, address=kept)
        end = there.dial(server, flags=("--forward", "0:echo"))
        async with await echoing(forwarded(end, "echo")) as program:
            server.stop(signal.SIGKILL)
            with trio.fail_after(PATIENCE):
                assert await is_reset(program)
        here.serve(*expose, address=kept)
        (await echoing(forwarded(end, "echo"))).close()
        nursery.cancel_scope.cancel()


# HTTP CONNECT.


def get(proxy: str, name: str) -> tuple[int, bytes]:
    """Status and body of a page, asked for by the name of its service through an HTTP proxy."""
    connection = http.client.HTTPConnection(*_split(proxy), timeout=PATIENCE)
    connection.set_tunnel(name, 80)
    connection.request("GET", "/")
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


@pytest.fixture
def proxy(two: tuple[Side, Side], web: str) -> str:
    """The proxy address of an end, over which `web` is known by that name."""
    here, there = two
    end = there.dial(here.serve("--expose", f"web={web}"))

    until = time.monotonic() + PATIENCE
    while True:  # each look is a connection of its own
        try:
            get(end.address("proxy"), "web")
        except OSError:
            assert time.monotonic() < until, end.stderr
        else:
            return end.address("proxy")


def test_an_http_client_goes_through_the_proxy_port_to_a_web_server_over_there(proxy: str) -> None:
    for _ in range(3):
        assert get(proxy, "web") == (200, b"hello from over there")
    with pytest.raises(OSError, match="404 Not Found"):
        get(proxy, "nobody")


@pytest.mark.peers
def test_curl_goes_through_the_proxy_port(proxy: str, require: Callable[[str], str]) -> None:
    curl = [require("curl"), "-sS", "--max-time", "20", "-p", "-x", f"http://{proxy}"]
    done = subprocess.run([*curl, "http://web/"], capture_output=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, b"hello from over there"), done.stderr
    done = subprocess.run([*curl, "http://nobody/"], capture_output=True, check=False, timeout=PATIENCE)
    assert done.returncode == 56
    assert b"404" in done.stderr


async def test_a_tunnel_that_stops_lets_open_connections_end(two: tuple[Side, Side]) -> None:
    here, there = two
    async with trio.open_nursery() as nursery:
        server = here.serve("--expose", f"echo={await serve(nursery, echo)}")
        end = there.dial(server, flags=("--forward", "0:echo"))
        async with await echoing(forwarded(end, "echo")) as program:
            end.send(signal.SIGTERM)
            with trio.fail_after(PATIENCE):
                while not await refused(forwarded(end, "echo")):
                    pass
            await program.send_all(b"two")
            assert await program.receive_some() == b"two"
            await program.send_eof()
            assert await read_to_end(program) == b""
        status, stderr = await trio.to_thread.run_sync(end.wait)
        assert status == 0
        assert "Traceback" not in stderr
        nursery.cancel_scope.cancel()


async def refused(address: str) -> bool:
    """Whether a new connection there is broken off at once."""
    try:
        async with await open_tcp(address) as program:
            await program.send_all(b"?")
            return await program.receive_some() != b"?"
    except (Unavailable, trio.BrokenResourceError):
        return True
