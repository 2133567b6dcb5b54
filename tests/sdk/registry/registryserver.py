"""`micro registry` beside the tests: in a thread with a loop of its own, so that their clocks do not touch it."""

import queue
import threading
from types import TracebackType
from typing import Any, Self

import trio

from mesh.registry_program import RegistryConfig, RegistryProgram


class RegistryServer:
    """A registry that is called, at `address`; use it inside `with`."""

    def __init__(self, **config: Any) -> None:
        self.address = ""
        self._config = config
        self._told: queue.Queue[tuple[trio.lowlevel.TrioToken, trio.CancelScope, str] | BaseException] = queue.Queue()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        told = self._told.get(timeout=30)
        if isinstance(told, BaseException):
            raise told
        self._token, self._scope, self.address = told
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends it as a kill does. Entered again it is at the same address, with nothing in it."""
        if self._thread.is_alive():
            self._token.run_sync_soon(self._scope.cancel)
            self._thread.join()

    def _run(self) -> None:
        try:
            trio.run(self._live)
        except BaseException as error:
            self._told.put(error)

    async def _live(self) -> None:
        program = RegistryProgram(RegistryConfig(**{"address": self.address or "127.0.0.1:0"} | self._config))
        async with trio.open_nursery() as nursery:
            [address] = await nursery.start(program.run)
            self._told.put((trio.lowlevel.current_trio_token(), nursery.cancel_scope, address))
