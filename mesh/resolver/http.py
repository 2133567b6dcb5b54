"""Nodes from a list that a web server has, as micro v2 does it; `listing` has its forms.

Proxies are those of the environment (HTTPS_PROXY, NO_PROXY), and certificates are checked against those the system
trusts (or SSL_CERT_FILE).
"""

import logging
import ssl
from typing import Final

import httpx
import trio

from sdk.errors import RemoteProtocolError, Unavailable

from .choice import shown
from .listing import parse_listing_untrusted
from .lookup import Found, no_answer

MAX_BODY: Final = 256 * 1024
"""Bytes of a list."""
REDIRECTS: Final = 3
"""Times that an answer may send on."""

# What it logs of every request is the whole URL, which may hold a secret.
logging.getLogger("httpx").setLevel(logging.WARNING)


class HttpList:
    """A list and the nodes on it."""

    def __init__(self, url: str) -> None:
        """`url` is one that `parse_resolver` took; user and password in it are sent as Basic authentication."""
        self.name = shown(url)
        given = httpx.URL(url)
        self._url = given.copy_with(userinfo=b"", fragment=None)
        self._auth = httpx.BasicAuth(given.username, given.password) if given.userinfo else None
        self._trusted = ssl.create_default_context()
        self._tag = ""
        self._last = Found(())

    async def find(self) -> Found:
        """Fetches the list, or learns that it is as it was."""
        try:
            # The whole question has a deadline, and one deadline is enough.
            async with httpx.AsyncClient(verify=self._trusted, timeout=None) as client:  # noqa: S113
                return await self._fetch(client)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise no_answer(error) from None

    async def _fetch(self, client: httpx.AsyncClient) -> Found:
        url, auth = self._url, self._auth
        # A short text that is packed may be a long one when it is not: nothing is unpacked here.
        headers = {"Accept": "application/json, text/plain", "Accept-Encoding": "identity"}
        if self._tag:
            headers["If-None-Match"] = self._tag
        for _ in range(REDIRECTS + 1):
            async with client.stream("GET", url, headers=headers, auth=auth) as response:
                if not response.has_redirect_location:
                    return await self._read(response)
                there = _next(response)
            if _origin(there) != _origin(url):
                auth = None  # the password is for the server it was given for
            url = there
        raise Unavailable(f"it redirects more than {REDIRECTS} times")

    async def _read(self, response: httpx.Response) -> Found:
        if response.status_code == httpx.codes.NOT_MODIFIED and self._tag:
            return self._last
        if response.status_code != httpx.codes.OK:
            raise Unavailable(f"it answered with status {response.status_code}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise RemoteProtocolError("it packed its answer, and was asked not to")
        body = bytearray()
        # Leaving the loop would leave httpx's generators open; cancelling ends each of them.
        with trio.CancelScope() as scope:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BODY:
                    scope.cancel()
        if len(body) > MAX_BODY:
            raise RemoteProtocolError(f"its list is longer than {MAX_BODY // 1024} KiB")
        self._last = Found(parse_listing_untrusted(bytes(body)))
        self._tag = response.headers.get("ETag", "")
        return self._last


def _next(response: httpx.Response) -> httpx.URL:
    """Where a redirect leads; raises `RemoteProtocolError` where it must not be followed."""
    there = response.url.join(response.headers["Location"])
    if there.scheme != response.url.scheme:
        raise RemoteProtocolError(f"it redirects from {response.url.scheme} to {there.scheme}, which is not followed")
    return there.copy_with(userinfo=b"", fragment=None)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
