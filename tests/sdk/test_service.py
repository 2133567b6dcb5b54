import logging
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from sdk import Client, Service, errors, types
from sdk.registry import Event
from sdk.registry.memory import MemoryRegistry
from tests.sdk.living import echo, offering, running


@dataclass
class Person:
    name: str


async def greet(request: Person) -> str:
    return request.name


async def test_a_running_service_is_in_the_registry_with_all_it_says_of_itself() -> None:
    async with MemoryRegistry() as registry:
        service = offering(registry, {"G.Greet": greet}, version="2", metadata={"team": "a"})
        async with running(service) as address:
            [record] = await registry.get("greeter")
            [instance] = record.instances
            assert (record.version, record.metadata) == ("2", {"team": "a"})
            assert [endpoint.name for endpoint in record.endpoints] == ["G.Greet"]
            assert record.endpoints[0].request is not None
            assert instance.id.startswith("greeter-")
            assert (instance.address, instance.protocol, instance.native) == (address, "grpc", True)
        assert await registry.get("greeter") == ()


async def test_a_record_is_renewed_before_its_time_is_over(autojump_clock: trio.testing.MockClock) -> None:
    async with MemoryRegistry() as registry:
        service = offering(registry, {}, register_ttl=60, register_interval=30)
        async with running(service):
            await trio.sleep(1000)
            assert await registry.get("greeter")


async def test_a_registry_in_trouble_is_asked_again_and_the_service_stays(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(MemoryRegistry):
        failures = 0

        async def register(self, service: types.Service, *, ttl: float | None = None) -> None:
            if self.failures:
                self.failures -= 1
                raise errors.Unavailable("the disk is full")
            await super().register(service, ttl=ttl)

    async with Failing() as registry, running(offering(registry, {})):
        registry.failures = 3
        with caplog.at_level(logging.WARNING):
            await trio.sleep(59)
        assert await registry.get("greeter")
        assert len(caplog.records) == 3
        await trio.sleep(1000)
        assert await registry.get("greeter")


async def test_a_registry_that_was_away_for_long_is_told_anew_as_soon_as_it_is_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Failing(MemoryRegistry):
        away = False

        async def register(self, service: types.Service, *, ttl: float | None = None) -> None:
            if self.away:
                raise errors.Unavailable("nobody answers")
            await super().register(service, ttl=ttl)

    async with Failing() as registry, running(offering(registry, {}, register_ttl=60, register_interval=30)):
        registry.away = True
        await trio.sleep(600)
        assert not await registry.get("greeter")
        registry.away = False
        await trio.sleep(5)
        assert await registry.get("greeter")


async def test_a_registry_that_fails_at_first_keeps_the_service_from_starting() -> None:
    class Broken(MemoryRegistry):
        async def register(self, service: types.Service, *, ttl: float | None = None) -> None:
            raise errors.Unavailable("the disk is full")

    async with Broken() as registry:
        with pytest.raises(errors.Unavailable, match="the disk is full"):
            await offering(registry, {}).serve()


async def test_a_registry_that_cannot_be_used_at_first_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryRegistry):
        async def register(self, service: types.Service, *, ttl: float | None = None) -> None:
            raise errors.Unavailable("connection refused")

        async def deregister(self, service: types.Service) -> None:
            raise errors.Unavailable("connection refused")

    async with Broken() as registry:
        with pytest.raises(errors.Unavailable, match="refused"):
            await offering(registry, {}).serve()
    assert caplog.messages == []


async def test_a_service_that_serves_already_is_not_served_again_and_goes_on() -> None:
    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        service = offering(registry, {"G.Echo": echo})
        async with running(service):
            with pytest.raises(RuntimeError, match="greeter serves already"):
                await service.serve()
            assert await client.call("greeter", "G.Echo", 1) == 1


def test_the_name_of_a_registry_is_no_registry_and_one_is_told_what_is() -> None:
    with pytest.raises(TypeError, match=r"open_registry\('consul'\) as registry` gives; or say MICRO_REGISTRY=consul"):
        Service("greeter", registry="consul")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="registry='mdns'"):
        Client(registry="mdns")  # type: ignore[arg-type]


def test_a_check_without_a_name_is_told_what_to_write() -> None:
    with pytest.raises(TypeError, match=r'@service\.check\("database"\)'):

        @Service("greeter").check  # type: ignore[arg-type]
        async def database() -> None: ...


async def test_stop_deregisters_and_lets_open_calls_end() -> None:
    began, go_on = trio.Event(), trio.Event()

    async def wait(request: Any) -> Any:
        began.set()
        await go_on.wait()
        return "done"

    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        service = offering(registry, {"G.Wait": wait, "G.Echo": echo})
        replies: list[Any] = []

        async def ask() -> None:
            replies.append(await client.call("greeter", "G.Wait"))

        async def stop() -> None:
            await began.wait()
            service.stop()
            async with registry.watch() as events:
                while await registry.get("greeter"):
                    await anext(events)
            while not all(port.refusing for port in service._server._ports):
                await trio.lowlevel.checkpoint()
            with pytest.raises((errors.Unavailable, errors.NotFound)):
                await client.call("greeter", "G.Echo", 1)
            go_on.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(service.serve)
            nursery.start_soon(ask)
            nursery.start_soon(stop)
    assert replies == ["done"]


async def test_calls_that_do_not_end_in_time_are_cut_short() -> None:
    began = trio.Event()

    async def wait(request: Any) -> Any:
        began.set()
        await trio.sleep_forever()

    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        service = offering(registry, {"G.Wait": wait})

        async def ask() -> None:
            with pytest.raises(errors.Unavailable) as caught:
                await client.call("greeter", "G.Wait")
            assert caught.value.may_have_run

        async with trio.open_nursery() as nursery:
            await nursery.start(service.serve)
            nursery.start_soon(ask)
            await began.wait()
            service.stop(0.05)


async def test_a_service_that_is_stopped_before_it_serves_ends_at_once() -> None:
    async with MemoryRegistry() as registry:
        service = offering(registry, {})
        service.stop()
        await service.serve()
        assert await registry.get("greeter") == ()


async def test_a_port_that_is_taken_is_named() -> None:
    async with MemoryRegistry() as registry, running(offering(registry, {})) as address:
        port = address.rpartition(":")[2]
        with pytest.raises(errors.Conflict, match=port):
            await offering(registry, {}, address=address).serve()


async def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICRO_SERVER_NAME", "other")
    monkeypatch.setenv("MICRO_SERVER_ADVERTISE", "greeter.example:80")
    async with MemoryRegistry() as registry, running(offering(registry, {"G.Echo": echo})) as address:
        [record] = await registry.get("other")
        assert record.instances[0].address == "greeter.example:80"
        async with Client(proxy=address) as client:
            assert await client.call("other", "G.Echo", 1) == 1


async def test_a_service_serves_again_after_it_was_cancelled() -> None:
    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        service = offering(registry, {"G.Echo": echo})
        for n in range(3):
            async with running(service) as address:
                assert await client.call("greeter", "G.Echo", n, address=address) == n


async def test_a_service_serves_again_after_it_was_stopped() -> None:
    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        service = offering(registry, {"G.Echo": echo})
        for n in range(2):
            async with trio.open_nursery() as nursery:
                await nursery.start(service.serve)
                assert await client.call("greeter", "G.Echo", n) == n
                service.stop()


async def test_watchers_hear_of_the_end_of_a_service() -> None:
    heard: list[Event] = []
    async with MemoryRegistry() as registry, registry.watch() as events:
        async with running(offering(registry, {})):
            heard.append(await anext(events))
        heard.append(await anext(events))
    assert [event.action.value for event in heard] == ["create", "delete"]


async def test_a_class_answers_with_its_methods_and_publishes_their_types() -> None:
    async with MemoryRegistry() as registry:
        service = Service("greeter", registry=registry)

        @service.handle
        class Greeter:
            async def hello(self, request: Person) -> str:
                return f"Hello {request.name}"

            async def count_up(self, request: Any, stream: Any) -> None:
                await stream.send(1)

        assert isinstance(Greeter, type)
        async with running(service), Client(registry=registry) as client:
            [record] = await registry.get("greeter")
            endpoints = {endpoint.name: endpoint for endpoint in record.endpoints}
            assert sorted(endpoints) == ["Greeter.CountUp", "Greeter.Hello"]
            assert endpoints["Greeter.Hello"].request is not None
            assert endpoints["Greeter.CountUp"].metadata == {"stream": "true"}
            assert await client.call("greeter", "Greeter.Hello", {"name": "John"}) == "Hello John"


async def test_an_instance_answers_with_what_it_was_given() -> None:
    class Greeter:
        def __init__(self, greeting: str) -> None:
            self.greeting = greeting

        async def hello(self, request: Any) -> str:
            return self.greeting

    async with MemoryRegistry() as registry:
        service = Service("greeter", registry=registry)
        service.handle(Greeter("Moin"))
        async with running(service), Client(registry=registry) as client:
            assert await client.call("greeter", "Greeter.Hello") == "Moin"


def test_a_function_without_an_endpoint_is_told_what_to_write() -> None:
    with pytest.raises(
        TypeError, match=r'which endpoint does greet answer\? Write @service\.handle\("Handler\.Method"'
    ):
        Service("greeter").handle(greet)


async def test_hooks_see_the_service_at_each_turn_of_its_life() -> None:
    seen: list[tuple[str, bool, Any]] = []
    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        service = offering(registry, {"G.Echo": echo})

        async def look(kind: str) -> None:
            offered = bool(await registry.get("greeter"))
            try:
                answer = await client.call("greeter", "G.Echo", kind)
            except errors.MicroError as error:
                answer = type(error)
            seen.append((kind, offered, answer))

        service.before_start(lambda: look("before start"))
        service.after_start(lambda: look("after start"))
        service.before_stop(lambda: look("before stop"))
        service.after_stop(lambda: look("after stop"))
        async with trio.open_nursery() as nursery:
            await nursery.start(service.serve)
            seen.append(("ready", True, None))
            service.stop(1)
    assert seen == [
        ("before start", False, errors.NotFound),
        ("after start", True, "after start"),
        ("ready", True, None),
        ("before stop", True, "before stop"),
        ("after stop", False, errors.NotFound),
    ]


@pytest.mark.parametrize("kind", ["before_start", "after_start"])
async def test_a_hook_that_fails_keeps_the_service_from_starting_and_leaves_nothing_behind(kind: str) -> None:
    async with MemoryRegistry() as registry:
        service = offering(registry, {"G.Echo": echo})
        stopped: list[bool] = []

        def fail() -> None:
            raise ValueError("no disk")

        getattr(service, kind)(fail)
        service.after_stop(lambda: stopped.append(True))
        with pytest.raises(ValueError, match="no disk"):
            await service.serve()
        assert await registry.get("greeter") == ()
        assert stopped == ([True] if kind == "after_start" else [])


async def test_a_service_that_left_the_registry_still_answers_those_who_have_not_heard() -> None:
    async with MemoryRegistry() as registry:
        service = offering(registry, {"G.Echo": echo})
        async with trio.open_nursery() as nursery:
            address = await nursery.start(service.serve)
            async with registry.watch() as events:
                await anext(events)
                service.stop()
                await anext(events)
            assert await registry.get("greeter") == ()
            async with Client(proxy=address) as late:
                assert await late.call("greeter", "G.Echo", 1) == 1


async def test_a_slow_handler_is_cancelled_by_its_callers_deadline(mock_clock: trio.testing.MockClock) -> None:
    cancelled = trio.Event()

    async def wait(request: Any) -> Any:
        mock_clock.jump(1)
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        service = offering(registry, {"G.Wait": wait, "G.Echo": echo})
        async with running(service):
            with pytest.raises(trio.TooSlowError):
                with trio.fail_after(0.1):
                    await client.call("greeter", "G.Wait")
            await cancelled.wait()
            assert await client.call("greeter", "G.Echo", 1) == 1


async def test_of_two_instances_one_stops_and_comes_back_under_load_and_no_call_is_lost() -> None:
    answered, due, reached = 0, 0, trio.Event()

    async def work(request: Any) -> Any:
        await trio.sleep(0.01)
        return request

    async with MemoryRegistry() as registry, Client(registry=registry, retries=0) as client:
        one, other = (offering(registry, {"G.Work": work}) for _ in range(2))

        async def call() -> None:
            nonlocal answered
            while True:
                assert await client.call("greeter", "G.Work", answered) is not None
                answered += 1
                if answered >= due:
                    reached.set()

        async with running(other), trio.open_nursery() as callers:
            for _ in range(3):
                async with trio.open_nursery() as nursery:
                    await nursery.start(one.serve)
                    if not answered:
                        for _ in range(16):
                            callers.start_soon(call)
                    due, reached = answered + 100, trio.Event()
                    await reached.wait()
                    one.stop(5)
                assert one._server.open_calls == 0
            callers.cancel_scope.cancel()
    assert answered >= 300


async def test_a_service_in_a_thread_is_stopped_from_another_and_once_more_does_no_harm() -> None:
    async with MemoryRegistry() as registry:
        service = Service("greeter", registry=registry)
        async with trio.open_nursery() as nursery:
            await nursery.start(service.serve)
            await trio.to_thread.run_sync(service.stop, 0.1)
            service.stop(0.1)
        service.stop()
