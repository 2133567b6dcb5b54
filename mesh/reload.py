"""Reading the token file again while the node runs: links stay up, and a bad file changes nothing."""

import logging
from collections.abc import Iterable

import trio

from sdk.errors import BadRequest, MicroError
from sdk.netaddress import split_address
from tunnel.identity import PUBLISHED
from tunnel.tunnel import Tunnel

from .addresses import is_public
from .config import NodeConfig, PublicAddress
from .tokens import read_tokens

_log = logging.getLogger(__name__)


class Reload:
    """What `micro network reload` and SIGHUP do."""

    def __init__(self, config: NodeConfig, tunnel: Tunnel) -> None:
        self._config = config
        self._tunnel = tunnel
        self._turn = trio.Lock()

    async def __call__(self) -> int:
        """Takes the tokens that stand in the file now; returns how many they are.

        Raises `BadRequest` when there is no file, or nothing in it that can be used; then the tokens in use stay, and
        the log says so as well.
        """
        try:
            async with self._turn:  # or an older state of the file might win
                tokens = await self._read()
        except MicroError as error:
            _log.warning("nothing was reloaded, the tokens stay as they are: %s", error)
            raise
        _log.info("reloaded: the number of tokens accepted is %d", len(tokens))
        return len(tokens)

    async def _read(self) -> tuple[str, ...]:
        path, (_, flag) = self._config.token_file, self._config.flags_of_tokens
        if not path:
            raise BadRequest(f"there is nothing to reload: this node was started without {flag}")
        tokens = await trio.to_thread.run_sync(read_tokens, path, flag, abandon_on_cancel=True)
        refuse_public(tokens, self._tunnel.bound, self._config.command)
        warn_of_default(tokens, self._config.command)
        await self._tunnel.set_tokens(tokens, private_only=not PUBLISHED.isdisjoint(tokens))
        return tokens


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
