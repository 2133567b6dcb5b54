"""Talks to the servers of one etcd: asks one after another, shows who asks, lists in pages, and opens watches."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio

from sdk.errors import BadRequest, Forbidden, RemoteProtocolError, Unauthorized, Unavailable

from .etcdjson import (
    Kept,
    Page,
    Told,
    count_request,
    parse_answer_untrusted,
    parse_page_untrusted,
    parse_refusal_untrusted,
    parse_told_untrusted,
    range_request,
    watch_request,
)
from .http import ADVICE, PATIENCE, HttpClient, Lines
from .url import RegistryUrl, certificates_of

PAGE: Final = 200
"""Records of one answer: a long list holds up neither the server nor this process's event loop."""
SILENCE: Final = 15.0
"""Seconds without a change after which a watcher asks whether the server still answers."""

# gRPC statuses, as the gateway gives them; the last are those that may go better another time:
# NOT_FOUND is that of a lease which ran out just now.
_INVALID, _DENIED, _OUT_OF_RANGE, _UNAUTHENTICATED = 3, 7, 11, 16
_FOR_NOW: Final = frozenset({1, 2, 4, 5, 8, 10, 13, 14})

T = TypeVar("T")


class Compacted(Exception):
    """The revision asked for is no longer kept."""


class _TokenRefused(Exception):
    """It has run out, or users have changed since it was given."""


class EtcdClient:
    """Usable inside its `async with`; outside it raises `trio.ClosedResourceError`.

    The server that answered last is asked first. Everything may be asked twice: what is asked of a registry is the same
    when it is done again. Raises `Unavailable` when no server answers, `Unauthorized` and `Forbidden` when etcd knows
    the user otherwise, and `BadRequest` for what it refuses for good.
    """

    def __init__(self, url: RegistryUrl) -> None:
        self._url = url
        self._tls = certificates_of(url)
        self._servers: list[HttpClient] = []
        self._stack = AsyncExitStack()
        self._first = 0
        self._token = ""

    async def __aenter__(self) -> Self:
        for server in self._url.servers:
            http = HttpClient(server, tls=self._tls, patience=PATIENCE)
            self._servers.append(await self._stack.enter_async_context(http))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._servers = []
        await self._stack.aclose()

    async def ask(self, path: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What etcd answers; `Compacted` where it asks for what is no longer kept."""
        return await self._ask(path, request, parse_answer_untrusted)

    async def everything(self, prefix: str) -> tuple[int, list[Kept]]:
        """What begins with a prefix, in the order of its last change, and the revision at which it was so."""
        while True:
            try:
                page = await self._page(range_request(prefix, limit=PAGE))
                revision, kept = page.revision, page.kept
                while page.more and page.kept:
                    after = page.kept[-1].path
                    page = await self._page(range_request(prefix, limit=PAGE, after=after, revision=revision))
                    kept += page.kept
            except Compacted:  # while it was read
                continue
            return revision, sorted(kept, key=lambda one: one.revision)

    @asynccontextmanager
    async def changes(self, prefix: str, revision: int) -> AsyncIterator["Changes"]:
        """The changes of what begins with a prefix, from a revision on.

        One server is asked, the one that answered last: who has just listed what there is has found one that answers.
        """
        await trio.lowlevel.checkpoint()
        if not self._servers:
            raise trio.ClosedResourceError("the registry is not open: use it inside `async with`")
        server = self._servers[self._first % len(self._servers)]
        asked = server.stream("POST", "/v3/watch", json=watch_request(prefix, revision), headers=self._shown())
        async with asked as lines:
            yield Changes(self, server, lines, prefix)

    async def _page(self, request: Mapping[str, Any]) -> Page:
        return await self._ask("/v3/kv/range", request, parse_page_untrusted)

    async def _ask(self, path: str, request: Mapping[str, Any], read: Callable[[bytes], T]) -> T:
        if not self._servers:
            await trio.lowlevel.checkpoint()
            raise trio.ClosedResourceError("the registry is not open: use it inside `async with`")
        servers, first, failures = self._servers, self._first, list[str]()
        for number in range(first, first + len(servers)):
            server = servers[number % len(servers)]
            try:
                answer = await self._ask_as_user(server, path, request, read)
            except Unavailable as error:
                failures.append(error.detail)
            else:
                self._first = number % len(servers)
                return answer
        # What to do is said once, at the end.
        raise Unavailable("; ".join([*(each.removesuffix(f"; {ADVICE}") for each in failures), ADVICE]))

    async def _ask_as_user(
        self, server: HttpClient, path: str, request: Mapping[str, Any], read: Callable[[bytes], T]
    ) -> T:
        if self._url.user and not self._token:
            self._token = await self._authenticate(server)
        try:
            return await self._ask_one(server, path, request, read)
        except _TokenRefused as error:
            if not self._url.user:
                raise Unauthorized(f"{error}: it wants a user and a password; {ADVICE}") from None
        self._token = await self._authenticate(server)
        try:
            return await self._ask_one(server, path, request, read)
        except _TokenRefused as error:
            raise Unauthorized(f"{error}; {ADVICE}") from None

    async def _authenticate(self, server: HttpClient) -> str:
        self._token = ""
        who = {"name": self._url.user, "password": self._url.password}
        try:
            answer = await self._ask_one(server, "/v3/auth/authenticate", who, parse_answer_untrusted)
        except (_TokenRefused, BadRequest) as error:
            raise Unauthorized(f"{error}; {ADVICE}") from None
        token = answer.get("token")
        if not isinstance(token, str) or not (token.isascii() and token.isprintable()):
            raise server.unavailable("it gave the user no token")
        return token

    async def _ask_one(
        self, server: HttpClient, path: str, request: Mapping[str, Any], read: Callable[[bytes], T]
    ) -> T:
        answer = await server.request("POST", path, json=request, headers=self._shown())
        try:
            if answer.status == 200:
                return read(answer.body)
            code, text = parse_refusal_untrusted(answer.body)
        except RemoteProtocolError as error:
            reason = f"status {answer.status}" if answer.status != 200 else str(error)
            raise server.unavailable(f"what it says is not etcd's ({reason})") from None
        raise _error(server, path, code, text or f"status {answer.status}")

    def _shown(self) -> dict[str, str]:
        return {"authorization": self._token} if self._token else {}


class Changes:
    """A watch that stands. Waiting may be cancelled and taken up again."""

    def __init__(self, client: EtcdClient, server: HttpClient, lines: Lines, prefix: str) -> None:
        self._client = client
        self._server = server
        self._lines = lines
        self._prefix = prefix

    async def next(self) -> Told:
        """What is told next. Raises `Unavailable` when the connection breaks or the server answers nobody any more."""
        while True:
            with trio.move_on_after(SILENCE):
                try:
                    told = parse_told_untrusted(await anext(self._lines))
                except StopAsyncIteration:
                    raise self._server.unavailable("it ended the watch") from None
                except RemoteProtocolError as error:
                    raise self._server.unavailable(f"what it says is not etcd's ({error})") from None
                return told
            # A server that was stopped, or has become a bridge to nowhere, keeps connections and says nothing.
            await self._client._ask_as_user(
                self._server, "/v3/kv/range", count_request(self._prefix), parse_answer_untrusted
            )


def _error(server: HttpClient, path: str, code: int, text: str) -> Exception:
    if code == _UNAUTHENTICATED or (code == _INVALID and ("auth store" in text or "user name is empty" in text)):
        return _TokenRefused(f"the registry at {server.url} refuses {path}: {text}")
    if code == _OUT_OF_RANGE and "compacted" in text:
        return Compacted(text)
    if "space exceeded" in text:  # alarm NOSPACE: leases that stand are kept alive and nothing is written
        return server.unavailable(
            f"{text}, so nothing new is registered until its operator compacts and defragments it and disarms the "
            "alarm (etcdctl compact, defrag, alarm disarm), or gives it more with --quota-backend-bytes"
        )
    if code in _FOR_NOW and "larger than max" not in text:
        return server.unavailable(text)
    if code == _DENIED:
        return Forbidden(
            f"the registry at {server.url} refuses {path}: {text}; the user needs a role that reads what begins with "
            "/micro/registry/, and writes it to register; name another user with --registry-address "
            "(MICRO_REGISTRY_ADDRESS)"
        )
    # etcd itself says "too large", gRPC in front of it "larger than max".
    large = "too large" in text or "larger than max" in text
    advice = "; leave out metadata or endpoints, or start etcd with more --max-request-bytes" if large else ""
    return BadRequest(f"the registry at {server.url} refuses {path}: {text}{advice}")
