import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mesh.presence import RENEW, TTL, Presence
from sdk.errors import Forbidden
from sdk.registry.memory import MemoryRegistry
from sdk.types import Instance, Service

RECORD = Service(name="go.micro.network", instances=(Instance(id="one", address="127.0.0.1:8081"),))


def nobody_cares() -> None: ...


class Moody(MemoryRegistry):
    """A registry that sometimes takes no changes, and may take its time."""

    failing = False
    delay = 0.0

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        await trio.sleep(self.delay)
        if self.failing:
            raise OSError("the disk is full")
        await super().register(service, ttl=ttl)

    async def deregister(self, service: Service) -> None:
        if self.failing:
            raise OSError("the disk is full")
        await super().deregister(service)


async def test_a_record_stays_as_long_as_it_is_renewed_and_no_longer(autojump_clock: MockClock) -> None:
    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        await nursery.start(Presence(registry, RECORD, failed=nobody_cares).run)
        assert await registry.get(RECORD.name) == (RECORD,)
        await trio.sleep(10 * TTL)
        assert await registry.get(RECORD.name) == (RECORD,)
        nursery.cancel_scope.cancel()
    async with registry:
        await trio.sleep(TTL - RENEW - 1)
        assert await registry.get(RECORD.name) == (RECORD,)
        await trio.sleep(RENEW + 1)
        assert await registry.get(RECORD.name) == ()


async def test_a_withdrawn_record_does_not_come_back(autojump_clock: MockClock) -> None:
    async with Moody() as registry, trio.open_nursery() as nursery:
        presence = Presence(registry, RECORD, failed=nobody_cares)
        await nursery.start(presence.run)
        registry.delay = 1
        await trio.sleep(RENEW + 0.5)  # in the middle of a renewal
        await presence.withdraw()
        assert await registry.get(RECORD.name) == ()
        await trio.sleep(3 * RENEW)
        assert await registry.get(RECORD.name) == ()


async def test_a_record_withdrawn_between_two_renewals_is_not_renewed(autojump_clock: MockClock) -> None:
    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        presence = Presence(registry, RECORD, failed=nobody_cares)
        await nursery.start(presence.run)
        await trio.sleep(RENEW / 2)
        await presence.withdraw()
        await trio.sleep(RENEW)
        assert await registry.get(RECORD.name) == ()


async def test_a_registry_that_fails_is_complained_of_once_and_tried_until_it_works(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Moody() as registry, trio.open_nursery() as nursery:
        registry.failing = True
        failures: list[float] = []
        presence = Presence(registry, RECORD, failed=lambda: failures.append(trio.current_time()))
        await nursery.start(presence.run)
        await trio.sleep(10 * RENEW)
        assert [record.message for record in caplog.records] == ["cannot register go.micro.network: the disk is full"]
        assert len(failures) >= 10
        registry.failing = False
        await trio.sleep(RENEW)
        assert await registry.get(RECORD.name) == (RECORD,)

        registry.failing = True
        await presence.withdraw()
        assert "the record goes within 15 s" in caplog.messages[-1]
        await wait_all_tasks_blocked()


async def test_a_registry_that_hangs_holds_up_nobody_who_leaves(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with Moody() as registry, trio.open_nursery() as nursery:
        presence = Presence(registry, RECORD, failed=nobody_cares)
        await nursery.start(presence.run)
        registry.delay = 100
        await trio.sleep(RENEW + 1)
        began = trio.current_time()
        await presence.withdraw()
        assert trio.current_time() - began == 2
        assert "cannot deregister in 2 s: the record goes within 15 s" in caplog.text
        nursery.cancel_scope.cancel()


async def test_a_registry_that_is_read_only_is_not_taken_for_one_that_is_away(autojump_clock: MockClock) -> None:
    class ReadOnly(MemoryRegistry):
        async def register(self, service: Service, *, ttl: float | None = None) -> None:
            await trio.lowlevel.checkpoint()
            raise Forbidden("it is written elsewhere")

    def failed() -> None:
        pytest.fail("it answers")

    async with ReadOnly() as registry, trio.open_nursery() as nursery:
        await nursery.start(Presence(registry, RECORD, failed=failed).run)
        await trio.sleep(3 * RENEW)
        nursery.cancel_scope.cancel()
