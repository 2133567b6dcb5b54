"""The API server of a cluster, asked for EndpointSlices: all of them, and then every change from their version on.

Bounded in time are one answer, a whole list (`LISTING`) and a watch (`WATCH`); for how long a watch may say nothing is
for whoever follows it. A refusal names what is missing.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

import trio

from sdk.errors import Forbidden, RemoteProtocolError, Unauthorized, Unavailable

from .http import PATIENCE, Answer, HttpClient, Lines
from .kubeaccess import Access
from .kubecredential import Credential
from .kubejson import SERVICE_NAME, Page, parse_page_untrusted

PAGE: Final = 500
"""Slices of one answer; kubectl asks for as many."""
LISTING: Final = 60.0
"""Seconds for all pages together, and for whatever makes the credentials."""
WATCH: Final = 300
"""Seconds after which a watch is begun anew, so that an account that may no longer read notices."""

_GONE = 410


class Expired(Exception):
    """The version asked for is no longer kept."""


class KubeClient:
    """Asks one cluster. Usable inside its `async with`; outside it raises `trio.ClosedResourceError`.

    Every question raises `Unavailable`, `Unauthorized` or `Forbidden`, naming the server.
    """

    def __init__(self, access: Access, namespace: str, selector: str) -> None:
        """`namespace` may be `*` for all; `selector` as Kubernetes has it, may be empty."""
        self._access = access
        self._namespace = namespace
        within = "" if namespace == "*" else f"/namespaces/{namespace}"
        self._path = f"/apis/discovery.k8s.io/v1{within}/endpointslices"
        self._query = {"labelSelector": ",".join(filter(None, (SERVICE_NAME, selector)))}
        self._http = HttpClient(access.server, tls=access.tls, server_name=access.server_name, patience=PATIENCE)
        self._shown = Credential()

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    def check_open(self) -> None:
        """Raises `trio.ClosedResourceError` outside of `async with`."""
        self._http.check_open()

    def unavailable(self, reason: str) -> Unavailable:
        """The error that names the server."""
        return self._http.unavailable(reason)

    async def everything(self, label: str = "") -> tuple[str, list[object]]:
        """The version, and all slices of that version, each still to be read; with `KEY=VALUE` those with the label."""
        which = {**self._query, "labelSelector": f"{self._query['labelSelector']},{label}"} if label else self._query
        with trio.move_on_after(LISTING):
            try:
                return await self._pages(which)
            except Expired:  # while it was read: all at once cannot expire, and is what client-go's pager does too
                pass
            try:
                page = await self._page(which)
            except Expired:
                raise self.unavailable(f"it answers {_GONE} to who asks for no version") from None
            return page.version, page.slices
        raise self.unavailable(f"its list did not end within {LISTING:g} s")

    @asynccontextmanager
    async def changes(self, version: str) -> AsyncIterator[Lines]:
        """The changes from that version on, one in each line. Raises `Expired` besides."""
        query = {
            **self._query,
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH),
        }
        for again in (True, False):
            shown = await self._credential()
            async with self._http.stream("GET", self._path, query=query, headers=shown.headers) as lines:
                if not (again and lines.status == 401 and await self._access.renewed(shown)):
                    self._check(lines.status, "watch")
                    yield lines
                    return

    async def check_answers(self) -> None:
        """Raises `Unavailable` where the server does not answer. What it answers to everybody is asked, with what was
        shown last, and any status is an answer: what else is wrong the watch itself finds out."""
        await self._http.request("GET", "/version", headers=self._shown.headers)

    async def _pages(self, which: Mapping[str, str]) -> tuple[str, list[object]]:
        page = await self._page({**which, "limit": str(PAGE)})
        slices = page.slices
        while page.more:
            page = await self._page({**which, "limit": str(PAGE), "continue": page.more})
            slices += page.slices
        return page.version, slices

    async def _page(self, which: Mapping[str, str]) -> Page:
        answer = await self._ask(which)
        self._check(answer.status, "list")
        try:
            return parse_page_untrusted(answer.body)
        except RemoteProtocolError as error:
            raise self.unavailable(str(error)) from None

    async def _ask(self, query: Mapping[str, str]) -> Answer:
        shown = await self._credential()
        answer = await self._http.request("GET", self._path, query=query, headers=shown.headers)
        if answer.status == 401 and await self._access.renewed(shown):
            shown = await self._credential()
            answer = await self._http.request("GET", self._path, query=query, headers=shown.headers)
        return answer

    async def _credential(self) -> Credential:
        """What is shown from now on, on connections that know of no other certificate."""
        shown = await self._access.credential()
        before, self._shown = self._shown, shown
        if shown.certificate != before.certificate:
            await self._http.close_idle()
        return shown

    def _check(self, status: int, verb: str) -> None:
        if status == 200:
            return
        if status == _GONE:
            raise Expired
        where = f"Kubernetes at {self._http.url}"
        if status == 401:
            raise Unauthorized(f"{where} does not know us: renew the token or certificate of {self._access.source}")
        if status == 403:
            everywhere = self._namespace == "*"
            raise Forbidden(
                f"{where} does not let the account of {self._access.source} {verb} endpointslices of discovery.k8s.io "
                f"in {'all namespaces' if everywhere else f'the namespace {self._namespace}'}: bind it to a "
                f"{'ClusterRole' if everywhere else 'Role'} with the verbs list and watch for them"
            )
        raise self.unavailable(f"it answers {status}")
