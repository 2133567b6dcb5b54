"""Which agent of Consul is asked, and what its answers mean."""

import math

import pytest
import trio

from sdk.errors import BadRequest, Forbidden, MicroError, Unavailable
from sdk.registry import open_registry
from sdk.registry.consulagents import WAIT, ConsulAgents
from sdk.registry.http import Answer
from sdk.registry.url import parse_url
from tests.sdk.registry.consulserver import ConsulServer, OtherAgent
from tests.sdk.registry.test_registry import a, next_of
from tests.sdk.registry.threadserver import Said


def agents_at(*places: str) -> ConsulAgents:
    return ConsulAgents(parse_url(f"consul://{','.join(places)}", scheme="consul", port=8500))


class Scripted(ConsulAgents):
    """Gets these counts for its answers, one after the other, each after so many seconds."""

    def __init__(self, *counts: str, seconds: float = 0.0) -> None:
        super().__init__(parse_url("", scheme="consul", port=8500))
        self.counts = list(counts)
        self.seconds = seconds

    async def _read(self, *_: object) -> Answer:
        await trio.sleep(self.seconds)
        return Answer(200, {"x-consul-index": self.counts.pop(0)}, b"")


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (403, Forbidden, "MICRO_REGISTRY_TOKEN"),
        (429, Unavailable, "limits.request_limits"),
        (500, Unavailable, "No cluster leader"),
        (400, BadRequest, "No cluster leader"),
        (302, Unavailable, "302"),
    ],
)
async def test_an_answer_that_is_none_says_why(status: int, kind: type[MicroError], says: str) -> None:
    with ConsulServer() as server:
        server.trouble = lambda _: Said(status, b"No cluster leader")
        async with agents_at(f"127.0.0.1:{server.port}") as agents:
            for asked in (agents.read("/v1/catalog/services"), agents.tell("GET", "/v1/agent/service/1")):
                with pytest.raises(kind, match=says):
                    await asked


async def test_reading_goes_to_another_agent_and_registering_to_none_but_the_first() -> None:
    with ConsulServer() as first, OtherAgent(first) as second:
        async with open_registry(f"consul://127.0.0.1:{first.port},127.0.0.1:{second.port}") as registry:
            await registry.register(a("1"), ttl=60)
            assert second.asked == []
            async with registry.watch() as events:
                assert await next_of(events) == ("create", "1", "80")
                first.kill()
                assert await registry.list() == await registry.get("greeter") == (a("1"),)
                first.take_out("greeter", "1")
                assert await next_of(events) == ("delete", "1", "80")
                with pytest.raises(Unavailable, match="stands with the first agent"):
                    await registry.register(a("2"), ttl=60)
                second.kill()
                with pytest.raises(Unavailable, match=rf"{first.port}.*{second.port}|{second.port}.*{first.port}"):
                    await registry.list()
                first.start()
                await registry.register(a("2"), ttl=60)
                assert await next_of(events) == ("create", "2", "80")


async def test_servers_that_are_asked_too_often_are_not_asked_through_another_agent() -> None:
    with ConsulServer() as first, OtherAgent(first) as second:
        first.trouble = lambda _: Said(429, b"")
        async with agents_at(f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}") as agents:
            with pytest.raises(Unavailable):
                await agents.read("/v1/catalog/services")
            assert second.asked == []


async def test_answers_that_come_early_and_tell_of_no_change_are_not_asked_for_all_the_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    agents = Scripted("7", "7", "7", "8")
    assert await agents.until_moved("/", 7) == 8
    assert math.isclose(trio.current_time(), 1.5)
    agents = Scripted("7", "8", seconds=WAIT)
    assert await agents.until_moved("/", 7) == 8
    assert math.isclose(trio.current_time(), 1.5 + 2 * WAIT)


async def test_a_count_that_says_nothing_is_begun_anew() -> None:
    assert await Scripted("0").until_moved("/", 0) == 1
    assert await Scripted("5").until_moved("/", 9) == 0
    with pytest.raises(Unavailable, match="X-Consul-Index"):
        await Scripted("").until_moved("/", 0)
