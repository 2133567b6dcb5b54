"""JSON over HTTP on the port of a service: what curl gets, over HTTP/1.1 and HTTP/2."""

import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sdk import errors
from sdk.port.limits import HEAD_WITHIN, LOOK
from sdk.registry.memory import MemoryRegistry
from sdk.server import HELLO_SECONDS
from sdk.service import Service
from tests.sdk.living import count, echo, hello, offering, running


@dataclasses.dataclass
class Name:
    name: str


async def typed(request: Name) -> Name:
    return Name(request.name.upper())


async def refuse(request: Any) -> Any:
    raise errors.Conflict("it is there")


HANDLERS: dict[str, Callable[..., Any]] = {
    "Greeter.Hello": hello,
    "Greeter.Echo": echo,
    "Greeter.Typed": typed,
    "Greeter.Count": count,
    "Greeter.Refuse": refuse,
}


@dataclasses.dataclass
class There:
    """A running service, and a program that speaks HTTP to it."""

    service: Service
    address: str
    program: httpx.AsyncClient

    async def post(self, path: str, request: Any, **options: Any) -> httpx.Response:
        return await self.program.post(path, json=request, **options)


@asynccontextmanager
async def web(version: int = 1, handlers: dict[str, Any] | None = None) -> AsyncIterator[There]:
    async with MemoryRegistry() as registry:
        service = offering(registry, handlers or HANDLERS)
        async with running(service) as address:
            base = f"http://{address}"
            async with httpx.AsyncClient(base_url=base, http1=version == 1, http2=version == 2, timeout=30) as program:
                yield There(service, address, program)


@pytest.mark.parametrize("version", [1, 2])
async def test_json_is_answered_in_json(version: int) -> None:
    async with web(version) as there:
        for name in ("John", "Ada"):
            answer = await there.post("/Greeter/Hello", {"name": name})
            assert (answer.status_code, answer.json()) == (200, {"msg": f"Hello {name}"})
            assert answer.headers["content-type"] == "application/json"
            assert answer.http_version == ("HTTP/1.1" if version == 1 else "HTTP/2")
        assert len(there.service._server._ports) == 1


@pytest.mark.parametrize("version", [1, 2])
async def test_megabytes_of_json_go_both_ways(version: int) -> None:
    async with web(version) as there:
        assert (await there.post("/greeter.Greeter/Echo", "x" * 3_000_000)).json() == "x" * 3_000_000


async def test_a_handler_that_takes_a_dataclass_takes_json() -> None:
    async with web() as there:
        assert (await there.post("/Greeter/Typed", {"name": "ada"})).json() == {"name": "ADA"}
        answer = await there.post("/Greeter/Typed", {"nome": "ada"})
        assert answer.status_code == 400


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/Greeter/Refuse", 409, "it is there"),
        ("/Greeter/Nothing", 404, "greeter has no endpoint"),
        ("/Greeter", 404, "POST /Handler/Method"),
    ],
)
async def test_errors_are_json_with_their_status(version: int, path: str, status: int, detail: str) -> None:
    async with web(version) as there:
        answer = await there.post(path, {"name": "John"})
        assert answer.status_code == answer.json()["code"] == status
        assert detail in answer.json()["detail"]


@pytest.mark.parametrize("version", [1, 2])
async def test_a_deadline_of_a_call_in_json_ends_its_handler(version: int) -> None:
    cancelled = trio.Event()

    async def forever(request: Any) -> Any:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with web(version, {"Greeter.Forever": forever}) as there:
        answer = await there.post("/Greeter/Forever", {}, headers={"grpc-timeout": "20m"})
        assert (answer.status_code, answer.headers["micro-fate"]) == (504, "may-have-run")
        assert "deadline" in answer.text
        await cancelled.wait()


async def test_what_is_no_json_is_the_callers_fault() -> None:
    async with web() as there:
        answer = await there.program.post("/Greeter/Echo", content=b"{", headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["status"]) == (400, "Bad Request")


async def test_errors_speak_of_endpoints_and_json_as_their_reader_does() -> None:
    async with web() as there:
        answer = await there.program.post("/Greeter/Echo", content=b"{", headers={"content-type": "application/json"})
        assert "greeter Greeter.Echo: the request cannot be read: a message is not application/json" in answer.text
        answer = await there.post("/Greeter/Typed", {"nome": "ada"})
        assert "greeter Greeter.Typed: the request cannot be read: name is missing" in answer.text
        assert "greeter has no endpoint Greeter.Nothing; it has" in (await there.post("/Greeter/Nothing", {})).text


async def test_a_method_that_streams_cannot_be_called_in_json() -> None:
    async with web() as there:
        answer = await there.post("/Greeter/Count", {"to": 2})
        assert (answer.status_code, "unary methods only" in answer.json()["detail"]) == (502, True)


@pytest.mark.parametrize("version", [1, 2])
async def test_the_root_says_what_is_here(version: int) -> None:
    async with web(version) as there:
        answer = await there.program.get("/")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["service"] == "greeter"
        endpoints = {endpoint["name"]: endpoint for endpoint in answer.json()["endpoints"]}
        assert endpoints["Greeter.Hello"] == {
            "name": "Greeter.Hello", "path": "/greeter.Greeter/Hello", "stream": False,
        }  # fmt: skip
        assert endpoints["Greeter.Count"]["stream"]
        assert (await there.post(endpoints["Greeter.Hello"]["path"], {"name": "J"})).json() == {"msg": "Hello J"}


async def test_a_host_that_is_a_name_means_no_other_service() -> None:
    async with web() as there:
        answer = await there.post("/Greeter/Hello", {"name": "J"}, headers={"host": "services.example:8080"})
        assert answer.json() == {"msg": "Hello J"}


async def test_whoever_names_another_service_in_http_is_told_which_one_is_here() -> None:
    async with web() as there:
        answer = await there.post("/Greeter/Hello", {}, headers={"micro-service": "other"})
        assert (answer.status_code, answer.text) == (503, "this is greeter, not other\n")


@pytest.mark.parametrize("version", [1, 2])
async def test_a_program_that_leaves_ends_the_handler(version: int) -> None:
    reached, cancelled = trio.Event(), trio.Event()

    async def sleep(request: Any) -> Any:
        reached.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with web(version, {"Greeter.Sleep": sleep}) as there:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(there.post, "/Greeter/Sleep", {})
                await reached.wait()
                nursery.cancel_scope.cancel()
            await there.program.aclose()
            await cancelled.wait()


async def test_a_service_that_stops_answers_what_was_asked_in_json() -> None:
    reached, go_on = trio.Event(), trio.Event()

    async def slow(request: Any) -> Any:
        reached.set()
        await go_on.wait()
        return "x" * 500_000

    answers: list[httpx.Response] = []

    async def ask(there: There) -> None:
        answers.append(await there.post("/Greeter/Slow", {}))

    async with web(1, {"Greeter.Slow": slow}) as there, trio.open_nursery() as nursery:
        nursery.start_soon(ask, there)
        with trio.fail_after(30):
            await reached.wait()
            there.service.stop()
            [port] = there.service._server._ports
            while not port.refusing:
                await trio.lowlevel.checkpoint()
            go_on.set()
            while port in there.service._server._ports:
                await trio.lowlevel.checkpoint()
    assert [answer.json() for answer in answers] == ["x" * 500_000]


async def test_an_answer_that_is_read_slowly_is_not_cut_short_by_the_end_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LINGER_SECONDS", "LAST_WORDS"):
        monkeypatch.setattr(f"sdk.server.{name}", 0.01)
    body = b'"%s"' % (b"x" * 3_000_000)
    reached = trio.Event()

    async def back(request: Any) -> Any:
        reached.set()
        return request

    async with web(1, {"Greeter.Echo": back}) as there:
        host, _, port = there.address.rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            head = b"POST /Greeter/Echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            await stream.send_all(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
            got = b""
            with trio.fail_after(30):
                await reached.wait()
                while there.service._server.open_calls:
                    await trio.lowlevel.checkpoint()
                there.service.stop()
                while not there.service._server._doors.closed:
                    await trio.lowlevel.checkpoint()
                with trio.move_on_after(0.3):
                    await trio.sleep_forever()  # longer than a service that owed nothing would stay
                while data := await stream.receive_some():
                    got += data
    assert got.partition(b"HTTP/1.1 408 ")[0].endswith(body)


async def test_an_idle_connection_is_ended_and_not_broken_when_the_service_stops() -> None:
    async with web() as there:
        host, _, port = there.address.rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"greeter" in await stream.receive_some()
            there.service.stop()
            told = b""
            with trio.fail_after(30):
                while data := await stream.receive_some():
                    told += data
    # A request that is on its way takes this for its answer.
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"micro-fate: not-reached\r\n" in told
    assert b"connection: close\r\n" in told


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nhost: x\r\nx",
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0",
        b"\x16\x03\x01\x02\x00",
        b"SSH-2.0-x\r\n",
    ],
)
async def test_who_goes_on_too_slowly_or_says_garbage_is_closed(beginning: bytes, mock_clock: MockClock) -> None:
    async with web() as there:
        host, _, port = there.address.rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(beginning)
            for _ in range(int((HELLO_SECONDS + HEAD_WITHIN + LOOK) / LOOK) + 1):
                await wait_all_tasks_blocked(0.01)
                mock_clock.jump(LOOK)
            try:
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
        assert (await there.post("/Greeter/Hello", {"name": "J"})).json() == {"msg": "Hello J"}


async def test_headers_are_the_handlers_metadata() -> None:
    async def said(request: Any, stream: Any) -> None:
        await stream.send(stream.metadata)

    async with web(1, {"Greeter.Said": said}) as there:
        answer = await there.post("/Greeter/Said", {}, headers={"X-Who": "ada"})
        said_there = json.loads(answer.content)
        assert said_there["x-who"] == "ada"
        assert said_there["forwarded"] == "for=127.0.0.1;proto=http"
        assert ":method" not in said_there
