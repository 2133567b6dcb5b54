"""Reading files again while a program runs: tokens, proxy tokens, certificates. Links and connections of programs stay
up, and a bad file changes nothing."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import trio

from proxy.listener import ProxyListener
from proxy.termination import CERT as PROXY_CERT
from proxy.termination import Termination, read_termination
from sdk.errors import BadRequest, MicroError
from sdk.netaddress import split_address
from tunnel.identity import PUBLISHED
from tunnel.transport.tls import CERT, Tls
from tunnel.tunnel import Tunnel

from .addresses import is_public
from .config import NodeConfig, PublicAddress
from .tokens import PROXY_FILE, proxy_tokens, read_tokens, to_bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """What was read again."""

    tokens: int
    """How many tokens let a node in now; 0 where the node has no file of them."""
    proxy_tokens: int
    """How many let a program in, likewise."""
    tls: tuple[str, ...]
    """The files of certificates and keys."""

    def __str__(self) -> str:
        words = [
            f"the number of {what} accepted is {number}"
            for what, number in (("tokens", self.tokens), ("proxy tokens", self.proxy_tokens))
            if number
        ]
        return "; ".join([*words, *([f"certificates and keys are those in {', '.join(self.tls)}"] if self.tls else [])])


class Reload:
    """What `micro network reload` and SIGHUP do."""

    def __init__(self, config: NodeConfig, tunnel: Tunnel, listener: ProxyListener) -> None:
        self._config = config
        self._tunnel = tunnel
        self._listener = listener
        self._turn = trio.Lock()
        self._of_links = tuple(filter(None, (config.tls.ca, config.tls.cert, config.tls.key)))
        self._certificates = (*self._of_links, *filter(None, (config.proxy_tls.cert, config.proxy_tls.key)))

    async def __call__(self) -> Reloaded:
        """Takes what stands in the files now: all of them or, where one cannot be used, none.

        Raises `BadRequest` when there is no file, or one that cannot be used; then what is in use stays, and the log
        says so as well.
        """
        async with self._turn:  # or an older state of the files might win
            return await _told(self._take)

    async def _take(self) -> Reloaded:
        config = self._config
        _, flag = config.flags_of_tokens
        if not (config.token_file or config.proxy_token_file or self._certificates):
            links = f"{flag}, {CERT}, " if config.alone is None else ""
            files = f"{links}{PROXY_FILE} and {PROXY_CERT}"
            raise BadRequest(f"there is nothing to reload: this node was started without {files}")
        tokens, shown, tls, termination = await trio.to_thread.run_sync(self._read, flag, abandon_on_cancel=True)
        if tokens:
            refuse_public(tokens, self._tunnel.bound, config.command)
            warn_of_default(tokens, config.command)
            await self._tunnel.set_tokens(tokens, private_only=not PUBLISHED.isdisjoint(tokens))
        # From here on nothing fails and nobody comes between.
        if shown:
            self._listener.set_tokens(to_bytes(shown))
        self._listener.set_termination(termination)
        if tls is not None:
            self._tunnel.set_tls(tls)
        return Reloaded(tokens=len(tokens), proxy_tokens=len(shown), tls=self._certificates)

    def _read(self, flag: str) -> tuple[tuple[str, ...], tuple[str, ...], Tls | None, Termination | None]:
        config = self._config
        return (
            read_tokens(config.token_file, flag) if config.token_file else (),
            proxy_tokens(None, config.proxy_token_file),
            Tls(config.tls) if self._of_links else None,
            read_termination(config.proxy_tls),
        )


class ReloadProxyTokens:
    """What SIGHUP does to a program that has a port for programs, and no links."""

    def __init__(self, file: str, listener: ProxyListener) -> None:
        self._file = file
        self._listener = listener
        self._turn = trio.Lock()

    async def __call__(self) -> Reloaded:
        """Likewise, with the proxy tokens alone."""
        async with self._turn:
            return await _told(self._take)

    async def _take(self) -> Reloaded:
        if not self._file:
            raise BadRequest(f"there is nothing to reload: this program was started without {PROXY_FILE}")
        shown = await trio.to_thread.run_sync(proxy_tokens, None, self._file, abandon_on_cancel=True)
        self._listener.set_tokens(to_bytes(shown))
        return Reloaded(tokens=0, proxy_tokens=len(shown), tls=())


async def _told(take: Callable[[], Awaitable[Reloaded]]) -> Reloaded:
    """Says in the log what was read again, or why nothing was."""
    try:
        reloaded = await take()
    except MicroError as error:
        _log.warning("nothing was reloaded, all stays as it was: %s", error)
        raise
    _log.info("reloaded: %s", reloaded)
    return reloaded


def refuse_public(tokens: Iterable[str], bound: Iterable[str], command: str = "NETWORK") -> None:
    """Raises `PublicAddress` where the default token would let anybody in. A name may turn out to be a public address
    only when it is bound."""
    if not PUBLISHED.isdisjoint(tokens):
        for address in bound:
            if "://" not in address and is_public(split_address(address)[0]):
                raise PublicAddress(address, command)


def warn_of_default(tokens: Iterable[str], command: str = "NETWORK") -> None:
    """Says in the log what the default token means."""
    if not PUBLISHED.isdisjoint(tokens):
        _log.warning(
            "the token is the default one, which everybody knows: only loopback and private peers are let in; "
            "set MICRO_%s_TOKEN to let in others",
            command,
        )
