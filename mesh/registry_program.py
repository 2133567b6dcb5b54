"""`micro registry`: a registry as a service, for hosts that have none of their own."""

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import trio

from proxy.jsonbridge import JsonBridge
from proxy.listener import ProxyListener
from proxy.switch import Switch
from sdk.errors import BadRequest, MicroError
from sdk.rawsocket import bound_address
from sdk.registry import open_registry
from sdk.registry.remote import REGISTRY_SERVICE
from sdk.timers import Timers
from sdk.wire.frame import ID_SIZE
from sdk.wire.message import MAX_MESSAGE

from .addresses import check_address
from .only import Only
from .registry_service import WRITES, RegistryService, Shelf
from .reload import ReloadProxyTokens
from .serving import answer_inside, bind, idle
from .tokens import to_bytes

ADDRESS: Final = "--address (MICRO_SERVER_ADDRESS)"
STORE_ADDRESS: Final = "--store-address (MICRO_REGISTRY_STORE_ADDRESS)"
REGISTRY_ADDRESS: Final = "--registry-address (MICRO_REGISTRY_ADDRESS)"
STORE: Final = "--store (MICRO_REGISTRY_STORE)"

MAX_INSTANCES: Final = 100_000
"""Instances that are taken; ten to each of 10,000 services."""

MAX_BYTES: Final = MAX_MESSAGE * 3 // 4
"""Bytes of records, as JSON, that are taken: one message must hold them all, or nobody could list them any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryConfig:
    """What the registry is told before it starts. Raises `BadRequest` naming flag and variable of what cannot be
    used."""

    address: str = ":8000"
    """Where programs reach it: `host:port`."""
    proxy_tokens: tuple[str, ...] = field(default=(), repr=False)
    """What programs of other hosts show, any of these. With none, those of private networks may read, and only this
    host may register."""
    proxy_token_file: str = ""
    """The file they stand in, if they do, to be read again."""
    store: str = "memory"
    """Where the records are: `memory`, for as long as it runs, or `sqlite`."""
    store_address: str = ""
    """The path of the file for `sqlite`; empty for the one that all programs of this user share."""

    def __post_init__(self) -> None:
        check_address(self.address, ADDRESS, bind=True)
        if self.store not in {"memory", "sqlite"}:
            raise BadRequest(f"{STORE} is {self.store!r}: it takes memory or sqlite")
        if self.store == "memory" and self.store_address:
            raise BadRequest(f"{STORE_ADDRESS} is the path of a file, and --store is memory: add --store sqlite")


class RegistryProgram:
    """A registry that is called. `run` it once."""

    def __init__(self, config: RegistryConfig) -> None:
        self._config = config
        # In memory stores have names; this one is nobody else's.
        self._store = open_registry(
            config.store, config.store_address if config.store == "sqlite" else secrets.token_hex()
        )
        self._timers = Timers()
        self._id = secrets.token_bytes(ID_SIZE)
        self._switch = Switch(me=self._id, name=REGISTRY_SERVICE)
        self._listener = ProxyListener(self._switch, self._timers, to_bytes(config.proxy_tokens))
        self.reload = ReloadProxyTokens(config.proxy_token_file, self._listener)
        """Reads the tokens of programs again."""
        self._shelf = Shelf(instances=MAX_INSTANCES, size=MAX_BYTES)
        self._service = RegistryService(self._store, shelf=self._shelf)

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; started with the addresses it is bound to. Raises `Conflict` when the port is taken,
        `Unavailable` when the store cannot be opened."""
        async with AsyncExitStack() as stack:
            try:
                store = await stack.enter_async_context(self._store)
            except MicroError as error:  # the store is a registry, and names the flag of one
                raise type(error)(error.detail.replace(REGISTRY_ADDRESS, STORE_ADDRESS)) from None
            listeners = await bind(stack, self._config.address, ADDRESS)
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(self._timers.run)
            nursery.start_soon(self._shelf.follow, store)
            answering = answer_inside(self._service.server, self._switch, nursery)
            self._switch.ingress = self._switch.egress = Only(
                REGISTRY_SERVICE,
                answering,
                json=JsonBridge(self._switch, me=self._id, name=REGISTRY_SERVICE, clock=trio.current_time).port,
                writes=WRITES,
                what="this is a registry, which calls nobody",
            )
            self._timers.watch(self._switch)
            nursery.start_soon(self._listener.serve, listeners)
            task_status.started(tuple(map(bound_address, listeners)))
            await trio.sleep_forever()

    async def drain(self) -> None:
        """Sends callers elsewhere, ends the watches, and returns when what is asked is answered."""
        self._listener.go_away()
        self._service.end()
        self._listener.refuse()
        await idle(self._switch)
