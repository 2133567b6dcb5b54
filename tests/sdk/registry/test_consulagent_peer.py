"""A real Consul, where there is one: it is killed, and asked what its documentation leaves open."""

import trio

from sdk.errors import Unavailable
from sdk.registry import open_registry
from tests.sdk.registry.consulagent import ConsulAgent
from tests.sdk.registry.test_registry import a, next_of


async def test_a_real_agent_that_lost_everything_is_told_again_by_the_next_renewal(consul_agent: ConsulAgent) -> None:
    async with open_registry("consul", f"127.0.0.1:{consul_agent.port}") as registry, registry.watch() as events:
        await registry.register(a("1"), ttl=60)
        assert await next_of(events) == ("create", "1", "80")
        consul_agent.take_out("greeter", "1")
        assert await next_of(events) == ("delete", "1", "80")
        await registry.register(a("1"), ttl=60)
        assert await next_of(events) == ("create", "1", "80")
        await trio.to_thread.run_sync(consul_agent.kill)
        await trio.to_thread.run_sync(consul_agent.start)
        with trio.fail_after(30):
            while True:
                try:
                    await registry.register(a("1"), ttl=60)
                    break
                except Unavailable:  # the connection that was kept is found dead
                    pass
        assert await registry.get("greeter") == (a("1"),)


async def test_a_real_agent_keeps_names_that_are_other_paths_and_ids_with_quotes(consul_agent: ConsulAgent) -> None:
    async with open_registry("consul", f"127.0.0.1:{consul_agent.port}") as registry:
        for name in ("..", "a//b", "a/b", "100%", 'x"\\`'):
            await registry.register(a(f"{name} 1", name=name), ttl=60)
            assert await registry.get(name) == (a(f"{name} 1", name=name),)
