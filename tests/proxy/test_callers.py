"""Programs whose connections carry calls, each with a port of its own."""

import math
from dataclasses import replace

import pytest
import trio

from proxy import doorkeeper
from proxy.attached import Attached
from proxy.callers import Callers
from proxy.doorkeeper import Doorkeeper
from proxy.visit import Visit
from sdk.head import CallHead
from sdk.port.limits import Limits
from sdk.timers import Timers

from .raw import RawNode, connected, raw_node, read_to_end, serve
from .web import WebServer

GET = b"GET /hello HTTP/1.1\r\nHost: www.example.com\r\n%b\r\n"
CLOSE = b"Connection: close\r\n"


def callers(node: RawNode, *tokens: bytes, otherwise: str = "") -> Callers:
    def refused(visit: Visit, reason: str) -> None:
        raise AssertionError(reason)

    return Callers(
        node.switch,
        Timers(),
        Doorkeeper(tokens),
        refused=refused,
        otherwise=otherwise,
        limits=Limits(),
        attached=Attached(),
    )


async def answer(served: Callers, request: bytes, **known: object) -> bytes:
    """What a program hears that asks and leaves."""
    near, far = await connected()
    async with near, far:
        visit = replace(Visit(socket=near, due=math.inf), **known)  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.http1, visit, request)
            received = await read_to_end(far)
            await far.aclose()
    return received


async def test_who_asks_for_no_service_means_the_one_behind_the_port_or_the_one_it_asked_for_before() -> None:
    async with raw_node() as node, trio.open_nursery() as nursery:
        node.offer(await serve(nursery, WebServer().serve), protocol="http")
        inside = CallHead("db", "", protocol="tcp")
        assert b"404 Not Found" in await answer(callers(node), GET % CLOSE)
        assert b"200 OK" in await answer(callers(node, otherwise="db"), GET % CLOSE)
        assert b"200 OK" in await answer(callers(node), GET % CLOSE, inside=inside)
        assert b"200 OK" in await answer(callers(node, otherwise="other"), GET % CLOSE, inside=inside)
        nursery.cancel_scope.cancel()


async def test_a_token_that_was_shown_before_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorkeeper, "is_loopback", lambda host: False)
    async with raw_node() as node:
        for shown, says in ((b"", b"407 Proxy"), (b"guess", b"407 Proxy"), (b"secret", b"404 Not Found")):
            assert says in await answer(callers(node, b"secret"), GET % CLOSE, token=shown)


async def test_programs_are_told_to_go_and_counted_until_they_have() -> None:
    async with raw_node() as node:
        served = callers(node)
        near, far = await connected()
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(served.http1, Visit(socket=near, due=math.inf), GET % b"")
            received = b""
            while not received.endswith(b"lists those that are\n"):
                received += await far.receive_some()
            assert len(served) == 1
            assert not served.heard
            served.go_away()
            served.refuse()
            assert served.heard
            await far.send_all(GET % b"")
            assert b"connection: close" in await read_to_end(far)
            await far.aclose()
        assert len(served) == 0
