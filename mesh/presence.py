"""The node's own record in the local registry: by it programs find the proxy port, and other nodes the link address."""

import logging
from collections.abc import Callable
from typing import Final

import trio

from sdk.errors import Forbidden
from sdk.registry import Registry
from sdk.types import Service

TTL: Final = 15.0
"""Seconds after which the record of a node that died without a word is gone."""
RENEW: Final = 5.0
"""Seconds between renewals: two may fail."""
WITHDRAWING: Final = 2.0
"""Seconds for taking the record out: a registry that hangs must not use up the time in which calls are ended."""

_log = logging.getLogger(__name__)


class Presence:
    """Keeps one record registered until it is withdrawn."""

    def __init__(self, registry: Registry, record: Service, *, failed: Callable[[], None]) -> None:
        """`failed` is called after each renewal that failed, unless it was forbidden: the registry may be away."""
        self._failed_to_renew = failed
        self._registry = registry
        self._record = record
        self._turn = trio.Lock()
        self._withdrawn = False
        self._failed = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Registers, says so, and renews until withdrawn. A registry that fails is tried again at each renewal."""
        await self._renew()
        task_status.started()
        while not self._withdrawn:
            await trio.sleep(RENEW)
            await self._renew()

    async def withdraw(self) -> None:
        """Takes the record out of the registry, for good. A registry that fails is left to forget it by itself."""
        self._withdrawn = True
        with trio.move_on_after(WITHDRAWING) as scope:
            async with self._turn:  # a renewal that is under way must not come after
                try:
                    await self._registry.deregister(self._record)
                except Exception as error:  # back ends fail in their own ways
                    _log.warning("cannot deregister (%s): the record goes within %g s", error, TTL)
        if scope.cancelled_caught:
            _log.warning("cannot deregister in %g s: the record goes within %g s", WITHDRAWING, TTL)

    async def _renew(self) -> None:
        async with self._turn:
            if self._withdrawn:
                return
            try:
                await self._registry.register(self._record, ttl=TTL)
            except Exception as error:  # back ends fail in their own ways
                if not self._failed:
                    _log.warning("cannot register %s: %s", self._record.name, error)
                self._failed = True
                if not isinstance(error, Forbidden):  # which is what one says that is read only
                    self._failed_to_renew()
            else:
                self._failed = False
