"""The programs of a load (`tests.load`): each makes calls of its own kinds on `tests.ledger`, and says how they ended.

`Native` uses the SDK, `Grpc` is grpcio's client, `Web` is httpx, which keeps its connections. What became of a call is
what such a program can know: the status and the fate that it is told, or that its connection broke.
"""

import queue
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import httpx
import trio

from sdk import Client
from sdk.errors import MicroError, Timeout, Unavailable
from tests.ledger import NAME, REASON
from tests.ledgerpeers import GRPC, WEB
from tests.load import Kind, Outcome

MESSAGES = 5
"""Messages each way of a streaming call, so that it lasts several times as long as a unary one."""


class Native:
    """A program with the SDK."""

    tasks = (Kind.IDEMPOTENT, Kind.UNARY) * 2 + (Kind.STREAMING,) * 2

    def __init__(self, client: Client, *, deadline: float) -> None:
        """The client's own default deadline must be the same, in seconds; streams are given it here."""
        self._client = client
        self._deadline = deadline

    async def call(self, id: str, kind: Kind) -> tuple[Outcome, str]:
        """See `Caller`."""
        try:
            if kind is Kind.STREAMING:
                with trio.fail_after(self._deadline):
                    await self._talk(id)
            else:
                reply = await self._client.call(NAME, "Ledger.Work", {"id": id}, idempotent=kind is Kind.IDEMPOTENT)
                assert reply == {"id": id}, reply
        except (Timeout, trio.TooSlowError) as error:
            return Outcome.LATE, str(error)
        except MicroError as error:
            if error.detail == REASON:
                return Outcome.FAILED, str(error)
            if isinstance(error, Unavailable):
                return Outcome.MAY_HAVE_RUN if error.may_have_run else Outcome.NOT_RUN, str(error)
            raise
        return Outcome.ANSWERED, ""

    async def _talk(self, id: str) -> None:
        """Each message is sent when the one before was answered."""
        async with self._client.stream(NAME, "Ledger.Talk", {"id": id}) as stream:
            assert await stream.receive() == {"id": id}
            for n in range(1, MESSAGES):
                try:
                    await stream.send({"n": n})
                except trio.BrokenResourceError:
                    pass  # whoever receives is told why
                assert await stream.receive() == {"n": n}
            await stream.send_eof()
            async for message in stream:
                raise AssertionError(f"more came than was asked for: {message}")


class Grpc:
    """A program with grpcio; its calls wait in threads. They also wait for a connection, as gRPC has it for programs
    whose servers come and go: grpcio asks seldom whether a node is back, and by then the other one may have left."""

    tasks = (Kind.UNARY, Kind.STREAMING)

    def __init__(self, channel: grpc.Channel, *, deadline: float) -> None:
        self._work: Any = channel.unary_unary(f"/{GRPC}.Ledger/Work")
        self._talk: Any = channel.stream_stream(f"/{GRPC}.Ledger/Talk")
        self._deadline = deadline

    async def call(self, id: str, kind: Kind) -> tuple[Outcome, str]:
        """See `Caller`."""
        return await trio.to_thread.run_sync(self._call, id.encode(), kind)

    def _call(self, id: bytes, kind: Kind) -> tuple[Outcome, str]:
        try:
            if kind is Kind.STREAMING:
                self._converse(id)
            else:
                assert self._work(id, timeout=self._deadline, wait_for_ready=True) == id
        except grpc.RpcError as error:
            return _outcome(error), str(error)
        return Outcome.ANSWERED, ""

    def _converse(self, id: bytes) -> None:
        messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        answers = self._talk(_until_none(messages), timeout=self._deadline, wait_for_ready=True)
        try:
            for message in (id, *(str(n).encode() for n in range(1, MESSAGES))):
                messages.put(message)
                assert next(answers) == message
        finally:
            messages.put(None)  # grpcio's thread that sends waits for it
        assert list(answers) == []


def _until_none(messages: "queue.SimpleQueue[bytes | None]") -> Iterator[bytes]:
    while (message := messages.get()) is not None:
        yield message


def _outcome(error: Any) -> Outcome:
    if error.details() == REASON:
        return Outcome.FAILED
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Outcome.LATE
    assert error.code() is grpc.StatusCode.UNAVAILABLE, error
    # What has no fate is grpcio's own error: its connection broke, or there was none.
    fate = dict(error.trailing_metadata() or ()).get("micro-fate")
    return Outcome.NOT_RUN if fate == "not-reached" else Outcome.MAY_HAVE_RUN


class Web:
    """A program with httpx that knows several nodes: it goes to the next one when a node says that it is not there, or
    that it did not pass the request on."""

    tasks = (Kind.UNARY, Kind.IDEMPOTENT)

    def __init__(self, client: httpx.AsyncClient, nodes: Sequence[str], *, deadline: float) -> None:
        """`nodes` are the addresses of their proxy ports."""
        self._client = client
        self._nodes = list(nodes)
        self._deadline = deadline

    async def call(self, id: str, kind: Kind) -> tuple[Outcome, str]:
        """See `Caller`."""
        outcome, detail = Outcome.NOT_RUN, ""
        with trio.move_on_after(self._deadline):
            for node in tuple(self._nodes):
                outcome, detail = await self._ask(node, id, kind)
                if outcome is not Outcome.NOT_RUN:
                    break
                self._nodes.sort(key=node.__eq__)  # it is asked last from now on
            return outcome, detail
        return Outcome.LATE, "given up"

    async def _ask(self, node: str, id: str, kind: Kind) -> tuple[Outcome, str]:
        verb, body = ("GET", None) if kind is Kind.IDEMPOTENT else ("POST", b"some words")
        try:
            answer = await self._client.request(verb, f"http://{node}/{id}", headers={"Host": WEB}, content=body)
        except httpx.ConnectError as error:
            return Outcome.NOT_RUN, repr(error)
        except httpx.TransportError as error:
            return Outcome.MAY_HAVE_RUN, repr(error)
        if answer.status_code == httpx.codes.OK:
            assert answer.text == id, answer.text
            return Outcome.ANSWERED, ""
        if answer.text == REASON:
            return Outcome.FAILED, answer.text
        fate = answer.headers.get("micro-fate")
        assert fate, (answer, answer.headers, answer.text)
        return Outcome.NOT_RUN if fate == "not-reached" else Outcome.MAY_HAVE_RUN, answer.text
