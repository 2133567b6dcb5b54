"""Interfaces that go and come while a registry is open, in namespaces of their own."""

import uuid
from collections.abc import Callable, Iterator

import pytest
import trio

from tests.namespaces import CABLE, ip, joined
from tests.sdk.registry.mdnspeers import other_process

# Nothing is said twice, so that what was missed is not healed by that.
FIRST = """
from sdk.registry import responder
responder.RENEW, responder.STAY = 500.0, 600.0
responder.ASK_AT, responder.REPEAT = (0.0, 0.1, 0.3), ()
responder.CHECK = """


@pytest.fixture
def hosts(require: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    require("ip")
    with joined() as names:
        yield names


def make_cable(here: str, there: str, first: int) -> None:
    """Another one in the old one's place; the hosts' addresses end in `first` and the number after it."""
    ip("-n", here, "link", "add", CABLE, "type", "veth", "peer", "name", CABLE, "netns", there)
    for number, name in enumerate((here, there), first):
        ip("-n", name, "address", "add", f"10.11.12.{number}/24", "dev", CABLE)
        ip("-n", name, "link", "set", CABLE, "up")


@pytest.mark.peers
@pytest.mark.parametrize("how", ["up again", "replaced", "renumbered"])
async def test_what_an_interface_that_went_has_missed_is_told_when_it_is_back(hosts: tuple[str, str], how: str) -> None:
    here, there = hosts
    group, first = uuid.uuid4().hex, FIRST + ("3.0" if how == "replaced" else "0.05")
    async with (
        other_process(group, "ip", "netns", "exec", here, first=first) as one,
        other_process(group, "ip", "netns", "exec", there, first=first) as other,
    ):
        await one.do("register", "1", ttl=0)
        await other.sees("1")
        ip("-n", here, "link", *(("set", CABLE, "down") if how == "up again" else ("delete", CABLE)))
        if how == "replaced":  # before anybody looked
            make_cable(here, there, 1)
        await one.do("register", "2", ttl=0)
        await other.do("register", "3", ttl=0)
        down = trio.current_time()
        while how != "replaced" and trio.current_time() < down + 0.2:  # until somebody has looked
            await one.sees("1", "2")
            await other.sees("1", "3")  # what was known stays
        if how == "up again":
            ip("-n", here, "link", "set", CABLE, "up")
        elif how == "renumbered":
            make_cable(here, there, 7)
        await one.sees("1", "2", "3")
        await other.sees("1", "2", "3")
        await one.do("deregister", "3")
        await other.sees("1", "2")
