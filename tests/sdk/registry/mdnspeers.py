"""Registries in other processes, told what to do over their input; and DNS-SD as any other program does it."""

import asyncio  # noqa: TID251 - another DNS-SD program, which runs on it
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncZeroconf

from sdk.registry.asking import PORT
from sdk.types import Instance, Service

ROOT = Path(__file__).parents[3]

T = TypeVar("T")

# Does what its lines of input say, and says what came of it.
OTHER = """
import sys, trio
from tests.sdk.registry.mdnsport import use_port
use_port(int(sys.argv[2]))
exec(sys.argv[3])
from sdk.registry import open_registry
from sdk.types import Instance, Service
from dataclasses import replace
from random import Random

async def main():
    async with open_registry("mdns", sys.argv[1]) as registry:
        print("open", flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            what, id, address, ttl = line.split()
            service = Service(name="greeter", instances=(Instance(id=id, address=address),))
            if what == "register-long":
                service = replace(service, metadata={"noise": Random(1).randbytes(20_000).hex()})
            if what.startswith("register"):
                await registry.register(service, ttl=float(ttl) if float(ttl) else None)
            elif what == "deregister":
                await registry.deregister(service)
            found = await registry.list()
            print(*[each.id for service in found for each in service.instances], flush=True)

trio.run(main)
"""


class Other:
    """Another process that has the registry open."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process

    async def read(self) -> str:
        assert self.process.stdout is not None
        line = b""
        with trio.fail_after(30):
            while not line.endswith(b"\n"):
                line += (got := await self.process.stdout.receive_some(1000))
                assert got, "the other process ended"
        return line.decode().strip()

    async def do(self, what: str, id: str = "1", address: str = "10.0.0.1:80", ttl: float = 60) -> list[str]:
        """Has it `register`, `register-long` (some 20 parts), `deregister` or just `look`; `ttl` 0 is none.

        Returns the instances it sees then.
        """
        assert self.process.stdin is not None
        await self.process.stdin.send_all(f"{what} {id} {address} {ttl}\n".encode())
        return (await self.read()).split()

    async def sees(self, *ids: str) -> None:
        """Waits until it sees these and no others: on a busy host a packet may be lost, and is sent again."""
        with trio.fail_after(20):
            while await self.do("look") != list(ids):
                pass


@asynccontextmanager
async def other_process(group: str, *before: str, port: int = PORT, first: str = "") -> AsyncIterator[Other]:
    """A process that opens the registry of that address; `before` stands before the command, as `ip netns exec …`.

    `first` is Python that it runs before.
    """
    command = [*before, sys.executable, "-c", OTHER, group, str(port), first]
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False, cwd=ROOT)
        other = Other(await nursery.start(run))
        assert await other.read() == "open"
        yield other
        nursery.cancel_scope.cancel()


def greeter(*ids: str, port: int = 80) -> Service:
    """What the other process registers."""
    return Service(name="greeter", instances=tuple(Instance(id=id, address=f"10.0.0.1:{port}") for id in ids))


async def as_another_program(do: Callable[[AsyncZeroconf], Awaitable[T]]) -> T:
    """Runs something with a DNS-SD program of its own."""

    async def main() -> T:
        async with AsyncZeroconf(ip_version=IPVersion.V4Only) as zeroconf:
            return await do(zeroconf)

    return await trio.to_thread.run_sync(asyncio.run, main())
