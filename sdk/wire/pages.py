"""Requests behind which a web page may be that has the name of its own site lead here.

A browser lets a page of `http://site.example:8081` ask that host anything, with any header field, and its owner may let
that name lead to 127.0.0.1 or to a private address as soon as the page is loaded (Jackson et al., "Protecting Browsers
from DNS Rebinding Attacks", 2007). To such a page the browser's user is this node's host. What gives it away is its
name: no other program asks by a public name for a service that it then names otherwise.

Not every such request is a page's. A front end that passes the names of its sites on says `Via`, or shows a token, or
the browser that it serves has said by Fetch Metadata that it speaks TLS there. All three are fields that no page can
set (Fetch, "forbidden request-header"), and browsers leave the last one out where a site is without TLS.
"""

from typing import Final

from .http1fields import service_of_host
from .http1head import Fields

_OF_FRONT_ENDS: Final = frozenset(("via", "proxy-authorization", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"))
_OF_BROWSERS: Final = frozenset(("accept-language", "origin"))
_NEVER_PUBLIC: Final = frozenset(("localhost", "local", "internal"))  # RFC 6761, RFC 6762, ICANN 2024


def site_of(fields: Fields, authority: str) -> str:
    """The public name by which a request came that may be a web page's; empty for any other request."""
    name = service_of_host(authority).rstrip(".").lower()
    _, dot, last = name.rpartition(".")
    if not dot or last in _NEVER_PUBLIC:
        return ""
    said = {field for field, _ in fields}
    if not said.isdisjoint(_OF_FRONT_ENDS):
        return ""
    browses = not said.isdisjoint(_OF_BROWSERS)
    return name if browses or any(name == "user-agent" and _is_browser(value) for name, value in fields) else ""


def _is_browser(agent: str) -> bool:
    return agent.startswith("Mozilla/")
