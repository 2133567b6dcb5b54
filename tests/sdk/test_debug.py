from typing import Any

import pytest
import trio

from sdk import Client, errors
from sdk.registry.memory import MemoryRegistry
from tests.processes import run
from tests.sdk.living import count, echo, greeting, offering, running


async def test_every_service_tells_its_health_and_the_registry_does_not_list_that() -> None:
    async with MemoryRegistry() as registry:
        service = offering(registry, {"G.Echo": echo}, version="2")
        async with running(service), Client(registry=registry) as client:
            [record] = await registry.get("greeter")
            assert [endpoint.name for endpoint in record.endpoints] == ["G.Echo"]
            health = await client.call("greeter", "Debug.Health", content_type="application/json")
            assert health == {
                "service": "greeter",
                "version": "2",
                "instance": record.instances[0].id,
                "status": "serving",
                "checks": {},
            }


async def test_a_check_that_fails_makes_a_service_not_serving_until_it_passes_again() -> None:
    async with MemoryRegistry() as registry:
        service = offering(registry, {"G.Echo": echo})
        well = False

        @service.check("database")
        async def database() -> None:
            if not well:
                raise ConnectionError("away")

        @service.check("disk")
        def disk() -> bool:
            return True

        async with running(service), Client(registry=registry) as client:
            health = await client.call("greeter", "Debug.Health")
            assert health["status"] == "not serving"
            assert health["checks"] == {"database": "ConnectionError: away", "disk": "ok"}
            well = True
            assert (await client.call("greeter", "Debug.Health"))["status"] == "serving"


async def test_a_service_that_stops_is_not_serving() -> None:
    told: list[str] = []
    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        service = offering(registry, {"G.Echo": echo})

        @service.before_stop
        async def ask() -> None:
            told.append((await client.call("greeter", "Debug.Health"))["status"])

        async with trio.open_nursery() as nursery:
            await nursery.start(service.serve)
            service.stop(1)
    assert told == ["not serving"]


async def test_stats_count_requests_errors_and_times_by_endpoint(mock_clock: trio.testing.MockClock) -> None:
    async def slow(request: Any) -> Any:
        mock_clock.jump(request)

    async def fail(request: Any) -> Any:
        raise errors.NotFound("not here")

    async with greeting({"G.Slow": slow, "G.Fail": fail, "G.Count": count, "G.Never": echo}) as client:
        for seconds in (0.1, 0.1, 0.4):
            await client.call("greeter", "G.Slow", seconds)
        with pytest.raises(errors.NotFound):
            await client.call("greeter", "G.Fail")
        async with client.stream("greeter", "G.Count", {"to": 3}) as stream:
            assert len([each async for each in stream]) == 3
        stats = await client.call("greeter", "Debug.Stats")
    slow_ones = stats["endpoints"]["G.Slow"]
    assert (slow_ones["requests"], slow_ones["errors"], slow_ones["max"]) == (3, 0, pytest.approx(0.4, rel=0.1))
    assert slow_ones["p50"] == pytest.approx(0.1, rel=0.1)
    assert slow_ones["p99"] == pytest.approx(0.4, rel=0.1)
    assert [count for _, count in slow_ones["histogram"]] == [2, 1]
    assert {name: (each["requests"], each["errors"]) for name, each in stats["endpoints"].items()} == {
        "G.Slow": (3, 0),
        "G.Fail": (1, 1),
        "G.Count": (1, 0),
        "G.Never": (0, 0),
    }
    assert (stats["requests"], stats["errors"], stats["open_calls"]) == (5, 1, 0)
    assert stats["uptime"] >= 0.6
    assert stats["memory"] > 1_000_000
    assert stats["tasks"] > 3


async def test_a_caller_that_left_is_a_request_and_no_error() -> None:
    began = trio.Event()

    async def wait(request: Any) -> Any:
        began.set()
        await trio.sleep_forever()

    async with greeting({"G.Wait": wait}) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.call, "greeter", "G.Wait")
            await began.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(30):
            stats: dict[str, Any] = {"requests": 0}
            while not stats["requests"]:
                stats = (await client.call("greeter", "Debug.Stats"))["endpoints"]["G.Wait"]
        assert (stats["requests"], stats["errors"]) == (1, 0)


async def test_debug_endpoints_are_taken() -> None:
    async with MemoryRegistry() as registry:
        with pytest.raises(ValueError, match=r"a handler for Debug\.Health already"):
            offering(registry, {"Debug.Health": echo})


def test_memory_grows_with_what_is_kept() -> None:
    # In a process of its own: this one may have as much to spare from other tests.
    script = """
from sdk.debug import memory
before = memory()
kept = bytearray(b"x") * 50_000_000
print(memory() - before > 40_000_000, len(kept))
"""
    done = run("python", "-c", script)
    assert (done.status, done.stdout) == (0, "True 50000000\n"), done.stderr
