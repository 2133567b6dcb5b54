"""`micro tunnel` by the ways out that flags and environment name: inside TLS, and through an HTTP proxy. Real
processes."""

import json
from pathlib import Path

import trio

from sdk.rawsocket import open_tcp
from tests.processes import Running, run
from tests.proxy.raw import echo, read_to_end, serve
from tests.tunnel.transport.certificates import files
from tests.tunnel.transport.connectproxy import proxy
from tests.tunnels import LOCAL, Side, forwarded, sides

LOGIN = "user:abrakadabra"


def dial(side: Side, address: str, *flags: str, **env: str) -> Running:
    """An end that dials this address and opens a local port for `echo`."""
    command = ("micro", "tunnel", "--server", address, "--proxy-address", LOCAL, "--forward", "0:echo")
    return side.start(*command, *flags, **env)


async def echoes(end: Running) -> bytes:
    """What comes back through the local port."""
    async with await open_tcp(forwarded(end, "echo")) as program:
        await program.send_all(b"hello")
        await program.send_eof()
        return await read_to_end(program)


def transport(end: Running) -> str:
    """Over what its one link goes, as it says itself."""
    done = run("micro", "network", "connections", "--proxy-address", end.address("proxy"), "--output", "json")
    [connection] = json.loads(done.stdout)["connections"]
    return str(connection["transport"])


async def test_two_ends_link_inside_tls_by_flags_and_variables(tmp_path: Path) -> None:
    tls = files(tmp_path, ca="trusted")
    with sides(tmp_path, "here", "there") as (here, there):
        async with trio.open_nursery() as nursery:
            exposed = ("--expose", f"echo={await serve(nursery, echo)}")
            server = here.serve(*exposed, "--tls-ca", tls.ca, "--tls-cert", tls.cert, "--tls-key", tls.key)
            address = f"wss://{server.address('link')}/link"
            end = dial(there, address, MICRO_TLS_CA=tls.ca, MICRO_TLS_CERT=tls.cert, MICRO_TLS_KEY=tls.key)
            assert await echoes(end) == b"hello"
            assert transport(end) == "wss"
            # Who has no certificate of that CA comes to no link, whatever token it has.
            dial(there, address, MICRO_TLS_CA=tls.ca).wait_for(f"no link with {address}")
            nursery.cancel_scope.cancel()


async def test_an_end_dials_through_an_http_proxy_and_keeps_its_password_to_itself(tmp_path: Path) -> None:
    with sides(tmp_path, "here", "there") as (here, there):
        async with trio.open_nursery() as nursery, proxy(LOGIN) as way:
            server = here.serve("--expose", f"echo={await serve(nursery, echo)}")
            via = f"http://{LOGIN}@{way.address}"
            # In threads: an end is ready when it has linked, and the proxy runs in this loop.
            link = server.address("link")
            by_variable = await trio.to_thread.run_sync(
                lambda: dial(there, link, "--log-level", "debug", MICRO_VIA=via)
            )
            assert await echoes(by_variable) == b"hello"
            by_flag = await trio.to_thread.run_sync(lambda: dial(there, link, "--via", via))
            assert await echoes(by_flag) == b"hello"
            # One dial for each end; a machine under load may make one of them dial again.
            assert len(way.asked) >= 2
            assert set(way.asked) == {link}
            status, stderr = by_variable.stop()
            assert status == 0
            assert "abrakadabra" not in stderr + by_variable.stdout
            nursery.cancel_scope.cancel()
