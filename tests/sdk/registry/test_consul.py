"""What is Consul's own: checks, tokens, counts of changes, services of others, and what befalls it."""

import logging

import pytest
import trio

from sdk.errors import BadRequest, Forbidden, Unavailable
from sdk.registry import Registry, open_registry
from sdk.registry.consuljson import LARGEST, LONGEST_TAG
from sdk.types import Instance, Service
from tests.sdk.registry.consulserver import ConsulServer
from tests.sdk.registry.test_registry import a, next_of
from tests.sdk.registry.threadserver import Asked, Said


@pytest.fixture
def consul(consul: ConsulServer) -> ConsulServer:
    """One whose catalog knows at once what befalls its checks."""
    consul.lag = 0.0
    return consul


def opened(server: ConsulServer, token: str = "") -> Registry:
    return open_registry(f"consul://{token}{'@' if token else ''}127.0.0.1:{server.port}")


async def test_a_renewal_passes_the_check_and_registers_nothing(consul: ConsulServer) -> None:
    async with opened(consul) as registry:
        await registry.register(a("1"), ttl=60)
        consul.set_check("service:1", "critical")
        assert await registry.list() == ()
        before = consul.services["1"]
        await registry.register(a("1"), ttl=60)
        assert await registry.list() == (a("1"),)
        assert consul.services["1"] is before
        assert [asked.path for asked in consul.asked].count("/v1/agent/service/register") == 1


@pytest.mark.parametrize("ttl", [None, 60.0])
@pytest.mark.parametrize("trouble", ["deregistered", "overwritten", "check lost"])
async def test_a_renewal_brings_back_what_was_lost_behind_our_back(
    consul: ConsulServer, ttl: float | None, trouble: str
) -> None:
    async with opened(consul) as registry, registry.watch() as events:
        await registry.register(a("1"), ttl=ttl)
        assert await next_of(events) == ("create", "1", "80")
        if trouble == "deregistered":
            consul.take_out("greeter", "1")
            assert await next_of(events) == ("delete", "1", "80")
        elif trouble == "overwritten":
            consul.put({"ID": "1", "Name": "greeter", "Address": "h", "Port": 9})
            assert (await next_of(events))[1:] == ("1", "80")  # the old version's is gone
        else:
            consul.checks.clear()
        await registry.register(a("1"), ttl=ttl)
        assert await registry.get("greeter") == (a("1"),)
        assert ("service:1" in consul.checks) is (ttl is not None)


async def test_what_consul_forgot_because_its_check_had_failed_too_long_comes_back(consul: ConsulServer) -> None:
    async with opened(consul) as registry:
        await registry.register(a("1"), ttl=60)
        consul.set_check("service:1", "critical")
        consul.reap()
        assert consul.services == {}
        await registry.register(a("1"), ttl=60)
        assert await registry.list() == (a("1"),)


async def test_an_instance_whose_check_fails_is_withdrawn_and_comes_back(consul: ConsulServer) -> None:
    async with opened(consul) as registry, registry.watch() as events:
        await registry.register(a("1"), ttl=60)
        assert await next_of(events) == ("create", "1", "80")
        for status, told in (
            ("critical", "delete"),
            ("warning", "create"),
            ("critical", "delete"),
            ("passing", "create"),
        ):
            consul.set_check("service:1", status)
            assert await next_of(events) == (told, "1", "80")


async def test_each_change_that_is_looked_at_is_told(consul: ConsulServer) -> None:
    async with opened(consul) as registry, registry.watch() as events:
        await registry.register(a("1"))
        assert await next_of(events) == ("create", "1", "80")
        await registry.register(a("1", port=81))
        assert await next_of(events) == ("update", "1", "81")
        await registry.deregister(a("1"))
        assert await next_of(events) == ("delete", "1", "81")


async def test_a_server_that_goes_and_comes_back_is_caught_up_with(consul: ConsulServer) -> None:
    async with opened(consul) as registry, registry.watch() as events:
        await registry.register(a("stays"))
        await registry.register(a("goes"))
        assert {(await next_of(events))[1] for _ in range(2)} == {"stays", "goes"}
        consul.kill()
        for _ in range(2):
            with pytest.raises(Unavailable, match=f"consul|127.0.0.1:{consul.port}"):
                await next_of(events)
        with pytest.raises(Unavailable):
            await registry.register(a("new"))
        consul.start()
        consul.take_out("greeter", "goes")
        await registry.register(a("new"))
        assert [await next_of(events) for _ in range(2)] == [("delete", "goes", "80"), ("create", "new", "80")]


async def test_a_count_of_changes_that_went_back_is_begun_anew(consul: ConsulServer) -> None:
    consul.longest_wait = 0.05
    async with opened(consul) as registry, registry.watch() as events:
        await registry.register(a("1"))
        assert await next_of(events) == ("create", "1", "80")
        consul.forget()
        assert await next_of(events) == ("delete", "1", "80")
        await registry.register(a("2"))
        assert await next_of(events) == ("create", "2", "80")


async def test_what_cannot_be_read_is_named_once_and_spoils_nothing(
    consul: ConsulServer, caplog: pytest.LogCaptureFixture
) -> None:
    consul.put({"ID": "bad", "Name": "greeter", "Address": "h", "Port": 0})
    consul.put({"ID": "2", "Name": "half%", "Address": "h", "Port": 1})
    async with opened(consul) as registry:
        await registry.register(a("1"))
        with caplog.at_level(logging.WARNING):
            assert await registry.list() == await registry.list() == (a("1"),)
        assert len(caplog.messages) == 2
        assert "'greeter' is skipped: there is no port" in caplog.text


async def test_a_token_is_shown_to_consul_and_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with ConsulServer(token="s3cret") as server:
        async with opened(server, "s3cret") as registry:
            await registry.register(a("1"), ttl=60)
            assert "s3cret" not in registry.address
        async with opened(server, "gu3ss") as registry:
            with pytest.raises(Forbidden, match="MICRO_REGISTRY_TOKEN") as caught:
                await registry.list()
            assert "gu3ss" not in str(caught.value)
        monkeypatch.setenv("MICRO_REGISTRY_TOKEN", "s3cret")
        async with opened(server) as registry:
            assert await registry.list() == (a("1"),)


async def test_an_id_of_another_service_is_left_alone(consul: ConsulServer) -> None:
    async with opened(consul) as registry:
        await registry.register(a("1", name="other"))
        await registry.deregister(a("1"))
        assert await registry.get("other") == (a("1", name="other"),)


async def test_a_slow_agent_holds_nobody_beyond_the_deadline(consul: ConsulServer) -> None:
    async with opened(consul) as registry:
        with consul.changed, trio.move_on_after(0.05) as scope:
            await registry.register(a("1"))
        assert scope.cancelled_caught


async def test_a_hundred_services_of_large_records_are_found(consul: ConsulServer) -> None:
    async with opened(consul) as registry:
        for number in range(100):
            await registry.register(a("x" * 200 + str(number), name=f"service-{number:02}"))
        assert len(await registry.list()) == 100


async def test_a_thousand_instances_of_one_service_are_registered_and_watched(consul: ConsulServer) -> None:
    ids = [f"{number:04}" for number in range(1000)]
    async with opened(consul) as ours, opened(consul) as theirs, theirs.watch() as events:
        await ours.register(a(*ids), ttl=600)
        assert [await next_of(events) for _ in ids] == [("create", id, "80") for id in ids]


async def test_a_registration_is_there_when_it_returns_though_the_agent_answers_before(consul: ConsulServer) -> None:
    consul.lag = 0.1
    async with opened(consul) as registry:
        await registry.register(a("1"))
        assert await registry.get("greeter") == (a("1"),)
        await registry.register(a("1", "2", port=81))
        assert await registry.get("greeter") == (a("1", "2", port=81),)
        await registry.deregister(a("1", port=81))
        assert await registry.get("greeter") == (a("2", port=81),)


async def test_a_registration_on_a_host_whose_check_is_critical_is_not_waited_for(consul: ConsulServer) -> None:
    consul.host = "critical"
    async with opened(consul) as registry:
        await registry.register(a("1"), ttl=60)
        assert [asked.path for asked in consul.asked].count("/v1/health/service/greeter") == 1
        assert await registry.get("greeter") == ()
        consul.host = "warning"
        assert await registry.get("greeter") == (a("1"),)


async def test_a_registration_waits_for_no_leader(consul: ConsulServer) -> None:
    consul.lag = 60.0
    consul.trouble = lambda asked: None if "/agent/" in asked.path else Said(500, b"No cluster leader")
    async with opened(consul) as registry:
        await registry.register(a("1"), ttl=60)
        assert "1" in consul.services
        with pytest.raises(Unavailable, match="500 No cluster leader"):
            await registry.list()


@pytest.mark.parametrize(
    ("instance", "says"),
    [
        (Instance(id="2", address="h:1", metadata={"long": "x" * (LONGEST_TAG + 1)}), "are the most"),
        (Instance(id="2", address="h:1", metadata={str(n): f"{n:064}"[::-1] for n in range(9000)}), f"{LARGEST} are"),
    ],
)
async def test_a_record_larger_than_consul_takes_is_refused_before_any_of_it_is_sent(
    consul: ConsulServer, instance: Instance, says: str
) -> None:
    async with opened(consul) as registry:
        with pytest.raises(BadRequest, match=says):
            await registry.register(Service(name="s", version="1", instances=(*a("1").instances, instance)))
        assert consul.asked == []


async def test_an_address_that_is_none_is_refused_by_consul(consul: ConsulServer) -> None:
    async with opened(consul) as registry:
        with pytest.raises(BadRequest, match="Invalid service address"):
            await registry.register(Service(name="s", version="1", instances=(Instance(id="1", address="0.0.0.0:80"),)))


async def test_what_the_token_may_not_read_is_missing_and_said_once(
    consul: ConsulServer, caplog: pytest.LogCaptureFixture
) -> None:
    consul.token = "few"
    async with opened(consul, "few") as registry:
        await registry.register(a("1"))
        await registry.register(a("2", name="other"))
        consul.hidden = {"other"}
    async with opened(consul, "few") as registry:
        with caplog.at_level(logging.WARNING):
            assert await registry.list() == await registry.list() == (a("1"),)
        assert len(caplog.messages) == 1
        assert "the token may not see every service" in caplog.text


async def test_a_token_that_loses_its_rights_withdraws_nothing(consul: ConsulServer) -> None:
    consul.token = "once mighty"
    async with opened(consul, "once%20mighty") as registry, registry.watch() as events:
        await registry.register(a("1"))
        await registry.register(a("2", name="other"))
        assert {(await next_of(events))[1] for _ in range(2)} == {"1", "2"}
        consul.hidden = {"other"}
        await registry.register(a("3"))
        for _ in range(2):
            with pytest.raises(Forbidden, match=r"'other'.*has lost service:read"):
                await next_of(events)
        consul.hidden = set()
        assert await next_of(events) == ("create", "3", "80")
        consul.hidden = {"greeter"}
        consul.take_out("other", "2")
        with pytest.raises(Forbidden, match="'greeter'"):
            await registry.list()


async def test_what_ended_in_full_view_and_comes_back_hidden_is_no_loss_of_rights(consul: ConsulServer) -> None:
    consul.token = "some"
    async with opened(consul, "some") as registry:
        await registry.register(a("1"))
        await registry.register(a("2", name="job-1"))
        assert len(await registry.list()) == 2
        await registry.deregister(a("2", name="job-1"))
        assert await registry.list() == (a("1"),)
        consul.hidden = {"job-1"}
        await registry.register(a("2", name="job-1"))
        assert await registry.list() == (a("1"),)


async def test_an_instance_that_moved_to_another_agent_is_there_once(consul: ConsulServer) -> None:
    def at_both(asked: Asked) -> Said | None:
        if not asked.path.startswith("/v1/health/service/"):
            return None
        old, new = ({**consul.services["1"], "Port": port, "ModifyIndex": port} for port in (80, 81))
        return Said(200, [{"Node": {"Node": name}, "Service": one} for name, one in (("b", new), ("a", old))])

    async with opened(consul) as registry, registry.watch() as events:
        await registry.register(a("1"))
        assert await next_of(events) == ("create", "1", "80")
        consul.trouble = at_both
        assert await registry.get("greeter") == await registry.list() == (a("1", port=81),)
