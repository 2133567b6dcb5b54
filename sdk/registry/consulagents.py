"""The agents of one Consul: which of them is asked, what their answers mean, and how one waits for a change.

A service stands with one agent, that of its host, which looks after its checks and takes it along when it goes. So what
is registered is told to the first agent and to no other; what all of them know is read from any that answers.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio

from sdk.errors import BadRequest, Forbidden, RemoteProtocolError, Unavailable

from .consuljson import parse_index_untrusted
from .http import PATIENCE, Answer, HttpClient
from .url import RegistryUrl, certificates_of

WAIT: Final = 15
"""Seconds that a question for changes may stay unanswered; Consul adds up to a sixteenth. An agent that hangs is found
out as late as this, and its patience."""

# An answer to a question for changes may come at once and tell of none: as often as this is it asked then, in seconds.
_AGAIN: Final = 0.5
_TOO_OFTEN: Final = 429

T = TypeVar("T")


class ConsulAgents:
    """Usable inside its `async with`; outside it raises `trio.ClosedResourceError`.

    Raises `Unavailable` where no agent answers, or none that knows a leader, `Forbidden` where the token allows too
    little, and `BadRequest` for what Consul refuses for good.
    """

    def __init__(self, url: RegistryUrl) -> None:
        """Takes the token from the URL or MICRO_REGISTRY_TOKEN."""
        self.address = url.shown
        token = url.password or url.user or os.environ.get("MICRO_REGISTRY_TOKEN", "")
        shown, tls = {"x-consul-token": token} if token else {}, certificates_of(url)
        self._asked = [HttpClient(server, headers=shown, tls=tls, patience=PATIENCE) for server in url.servers]
        patience = WAIT * 17 / 16 + PATIENCE
        self._waiting = [HttpClient(server, headers=shown, tls=tls, patience=patience) for server in url.servers]
        self._stack = AsyncExitStack()
        self._first = 0

    async def __aenter__(self) -> Self:
        for client in (*self._asked, *self._waiting):
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def tell(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        json: object = None,
        *,
        fine: tuple[int, ...] = (),
    ) -> Answer:
        """Asks the first agent, about what stands with it; `fine` are statuses that are an answer, besides 200."""
        client = self._asked[0]
        try:
            return self._checked(client, await client.request(method, path, query=query, json=json), fine)
        except Unavailable as error:
            if len(self._asked) == 1:
                raise
            raise Unavailable(
                f"{error.detail}; what is registered stands with the first agent of --registry-address "
                "(MICRO_REGISTRY_ADDRESS) alone, the others are for reading"
            ) from None

    async def read(self, path: str, query: Mapping[str, str] | None = None) -> Answer:
        """Asks the agent that answered last, and the others where it does not."""
        return await self._read(self._asked, path, query or {})

    async def until_moved(self, path: str, index: int) -> int:
        """The count of changes behind `path` once it is another than `index`, which is 0 where none is known.

        It is 0 where the count went back, as it does when servers are restored: what was counted then says nothing.
        """
        while True:
            asked = trio.current_time()
            query = {"index": str(index), "wait": f"{WAIT}s"} if index else {}
            answer = await self._read(self._waiting, path, query)
            now = self.parsed(parse_index_untrusted, answer.headers.get("x-consul-index", ""))
            if now < index:
                return 0
            if now != index or not index:
                return max(now, 1)  # Consul takes 0 for no count
            await trio.sleep_until(asked + _AGAIN)

    def parsed(self, parse: Callable[[Any], T], body: object) -> T:
        """What an agent said, as `parse` reads it; `Unavailable` where it is nothing that Consul says."""
        try:
            return parse(body)
        except RemoteProtocolError as error:
            raise self._asked[self._first].unavailable(str(error)) from None

    async def _read(self, clients: list[HttpClient], path: str, query: Mapping[str, str]) -> Answer:
        first, failures = self._first, list[str]()
        for number in range(first, first + len(clients)):
            client = clients[number % len(clients)]
            try:
                answer = await client.request("GET", path, query=query)
                if answer.status != _TOO_OFTEN:  # the servers refuse it, and another agent would ask the same ones
                    answer = self._checked(client, answer)
            except Unavailable as error:
                failures.append(error.detail)
            else:
                self._first = number % len(clients)
                return self._checked(client, answer)
        raise Unavailable("; ".join(failures))

    def _checked(self, client: HttpClient, answer: Answer, fine: tuple[int, ...] = ()) -> Answer:
        if answer.status == 200 or answer.status in fine:
            return answer
        said = answer.body[:200].decode(errors="replace").strip()
        if answer.status in {401, 403}:
            raise Forbidden(
                f"the registry {self.address} does not let us do this: give a token of Consul that may read services "
                "and nodes, and write the services it registers, as MICRO_REGISTRY_TOKEN or as consul://TOKEN@host"
            )
        if answer.status == _TOO_OFTEN:
            raise client.unavailable(
                f"it is asked more often than limits.request_limits in Consul's settings allows, {said}"
            )
        if answer.status in {400, 413}:
            raise BadRequest(f"the registry {self.address} refuses it: {said}")
        raise client.unavailable(f"it answers {answer.status} {said}")


def is_partial(answer: Answer) -> bool:
    """Whether the token may not see all of what was asked for. Consul says so only where a token is given."""
    return answer.headers.get("x-consul-results-filtered-by-acls") == "true"
