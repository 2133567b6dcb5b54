"""mdns on hosts and networks where things go wrong, and beside other people's mdns. What is lost when is counted by the
system: of so many packets each the same, so that a test goes the same way every time."""

import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from sdk.registry import Action
from sdk.registry.asking import PORT
from sdk.registry.mdns import MdnsRegistry
from tests.namespaces import joined
from tests.sdk.registry.avahi import avahi
from tests.sdk.registry.mdnspeers import ROOT, other_process
from tests.sdk.registry.mdnsport import REAL
from tests.sdk.registry.test_mdns import next_of

LOSSY = """
table inet lossy {
  chain in {
    type filter hook input priority 0
    iifname "cable" udp dport > 5000 numgen inc mod 10 < 3 drop
  }
}
"""

# Its deregistration is the service's own doing, when it is told to end.
SERVICE = """
import os
from tests.sdk.registry.mdnsport import use_port
use_port(int(os.environ["MDNS_PORT"]))
from sdk import Service
Service("greeter").run()
"""


@pytest.fixture
def hosts(require: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    require("ip")
    with joined() as names:
        yield names


@pytest.fixture
def group() -> str:
    return uuid.uuid4().hex


def inside(host: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", host)


@pytest.mark.peers
async def test_on_a_network_that_loses_three_packets_of_ten_all_is_found_and_taken_back(
    hosts: tuple[str, str], group: str, require: Callable[[str], str]
) -> None:
    for host in hosts:
        await trio.run_process([*inside(host), require("nft"), "-f", "-"], stdin=LOSSY.encode())
    async with other_process(group, *inside(hosts[0])) as one, other_process(group, *inside(hosts[1])) as other:
        await one.do("register", "early", "10.11.12.1:80")
        await one.do("register-long", "long", "10.11.12.1:80")
        await other.sees("early", "long")
        async with other_process(group, *inside(hosts[1])) as late:
            await late.sees("early", "long")
        await one.do("deregister", "long")
        await other.do("register", "theirs", "10.11.12.2:80")
        for each in (one, other):
            await each.sees("early", "theirs")


@pytest.mark.peers
async def test_a_host_whose_clock_is_wrong_is_understood_and_understands(hosts: tuple[str, str], group: str) -> None:
    wrong = "import time; right = time.time; time.time = lambda: right() - 1e8"
    async with (
        other_process(group, *inside(hosts[0]), first=wrong) as one,
        other_process(group, *inside(hosts[1])) as other,
    ):
        await one.do("register", "1", "10.11.12.1:80")
        await other.do("register", "2", "10.11.12.2:80", ttl=3)
        await other.sees("1", "2")
        await one.sees("1", "2")
        await one.sees("1")
        await other.sees("1")


@pytest.mark.peers
async def test_avahi_finds_and_resolves_what_is_offered_here_and_there_beside_it(
    hosts: tuple[str, str], group: str, require: Callable[[str], str], tmp_path: Path
) -> None:
    for program in ("avahi-daemon", "avahi-browse", "avahi-publish", "dbus-daemon"):
        require(program)
    here, there = hosts

    async def shown(where: str, *addresses: str) -> list[str]:
        """The names of the instances at these addresses, once Avahi knows them all and no others."""
        with trio.fail_after(30):
            while True:
                found = await trio.to_thread.run_sync(running.browse, "_micro._tcp")
                seen = {f"{each[7]}:{each[8]}": each[3] for each in found}
                if seen.keys() == set(addresses):
                    return [seen[address] for address in addresses]

    with avahi(there, tmp_path) as running:
        async with (
            other_process(group, *inside(here), port=REAL) as one,
            other_process(group, *inside(there), port=REAL) as beside,
        ):
            await one.do("register", "1", "10.11.12.1:80")
            await beside.do("register", "2", "10.11.12.2:8080")
            await one.sees("1", "2")
            await beside.sees("1", "2")
            first, _ = await shown(there, "10.11.12.1:80", "10.11.12.2:8080")
            await beside.do("deregister", "2")
            await shown(there, "10.11.12.1:80")
            # Somebody else wants the name of an instance of ours: they are told that it is taken.
            with running.publishing(first, "_micro._tcp", 99) as said:
                assert "collision" in said
                await beside.do("register", "3", "10.11.12.2:8081")
                for each in (one, beside):
                    await each.sees("1", "3")
            await beside.do("deregister", "3")
            for each in (one, beside):
                await each.sees("1")


async def test_a_service_that_is_told_to_end_takes_its_record_back(group: str) -> None:
    env = {
        **os.environ,
        "MICRO_REGISTRY": "mdns",
        "MICRO_REGISTRY_ADDRESS": group,
        "MICRO_REGISTER_TTL": "600s",
        "MDNS_PORT": str(PORT),
    }
    async with MdnsRegistry(group) as ours, ours.watch() as events, trio.open_nursery() as nursery:
        command = [sys.executable, "-c", SERVICE]
        process = await nursery.start(partial(trio.run_process, command, env=env, cwd=ROOT, check=False))
        action, instance = await next_of(events)
        assert action is Action.CREATE
        process.send_signal(signal.SIGTERM)
        assert await next_of(events) == (Action.DELETE, instance)
