"""Who may use a proxy port, and who may change the node through it.

    from               no token is set      a token is set
    this host          in, trusted          in, trusted
    a private network  in                   in and trusted, when it shows the token
    anywhere else      refused              in and trusted, when it shows the token

A program shows the token in its HELLO, or as the password of an HTTP proxy: in clear, as the calls are themselves.
"""

import hmac
from collections.abc import Sequence

from sdk.netaddress import is_loopback, is_private

MISSING = (
    "this proxy port asks programs of other hosts for a token, and this one showed none: set MICRO_PROXY_TOKEN to the "
    "secret of that node"
)
WRONG = (
    "this proxy port asks programs of other hosts for a token, and the one shown is another: set MICRO_PROXY_TOKEN to "
    "the secret of that node"
)
OUTSIDE = "it is not of this host or a private network, and this port has no token (--proxy-token, MICRO_PROXY_TOKEN)"


class Doorkeeper:
    """Knows the tokens of one port. Its `repr` tells how many there are."""

    def __init__(self, tokens: Sequence[bytes] = ()) -> None:
        """Any of `tokens` lets a program in; with none, private networks are let in without."""
        self._tokens = tuple(tokens)

    def __repr__(self) -> str:
        return f"<Doorkeeper with {len(self._tokens)} tokens>"

    def replace(self, tokens: Sequence[bytes]) -> None:
        """Asks for these tokens from now on; who was let in before stays in."""
        self._tokens = tuple(tokens)

    def turns_away(self, host: str) -> bool:
        """Whether whoever comes from this IP address can show nothing that would let it in."""
        return not self._tokens and not is_private(host)

    def objection(self, host: str, shown: bytes) -> str:
        """What is wrong with what a program of this address showed; empty when it is let in."""
        if is_loopback(host) or (not self._tokens and is_private(host)):
            return ""
        return "" if self._knows(shown) else WRONG if shown else MISSING

    def trusts(self, host: str, shown: bytes) -> bool:
        """Whether it may change the node."""
        return is_loopback(host) or self._knows(shown)

    def _knows(self, shown: bytes) -> bool:
        # All are compared, each in constant time: how long it takes tells nothing.
        return sum(hmac.compare_digest(shown, token) for token in self._tokens) > 0
