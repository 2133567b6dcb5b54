"""What node, registry and router have in common; what each makes of it is tried with each of them."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from mesh.only import Only
from mesh.serving import answer_inside, bind, idle
from proxy.switch import Switch
from sdk.codec import MSGPACK, encode
from sdk.errors import BadRequest, Conflict
from sdk.head import CallHead, pack_call_head
from sdk.port.inner import inner_pair
from sdk.rawsocket import bound_address
from sdk.reply import ClientStream
from sdk.server import Server
from sdk.wire.message import encode_message
from sdk.wire.mux import Mux


async def test_what_is_bound_is_closed_with_the_stack_and_what_cannot_be_is_named_by_its_flag() -> None:
    async with AsyncExitStack() as stack:
        listeners = await bind(stack, "127.0.0.1:0", "--address")
        address = bound_address(listeners[0])
        with pytest.raises(Conflict, match=r"^--address: .*" + address):
            await bind(stack, address, "--address")
        with pytest.raises(BadRequest, match=r"^--address: "):
            await bind(stack, "192.0.2.1:0", "--address")
    async with AsyncExitStack() as stack:
        assert bound_address((await bind(stack, address, "--address"))[0]) == address


async def test_a_service_inside_is_called_through_the_switch_which_is_idle_when_it_has_answered(
    autojump_clock: MockClock,
) -> None:
    async def hello(request: Any) -> dict[str, str]:
        await trio.sleep(3)
        return {"msg": f"Hello {request['name']}"}

    server = Server("greeter")
    server.add("Greeter.Hello", hello)
    switch = Switch(me=bytes(16), name="here")
    async with trio.open_nursery() as nursery:
        port = answer_inside(server, switch, nursery)
        switch.ingress = switch.egress = Only("greeter", port, json=port, writes=(), what="this is a test")
        program = Mux(clock=trio.current_time)
        program.attach(inner_pair(switch, program, name="program", clock=trio.current_time)[1])
        with trio.fail_after(1):
            await idle(switch)
        head = pack_call_head(CallHead("greeter", "Greeter.Hello", "rpc", 0, MSGPACK, (), bytes(16)))
        opened = program.open(head, encode_message(encode(MSGPACK, {"name": "John"})), end=True, ms=60_000)
        began = trio.current_time()
        await idle(switch)
        assert 3 <= trio.current_time() - began < 4
        assert await ClientStream(opened, MSGPACK, None).only_message() == {"msg": "Hello John"}
        nursery.cancel_scope.cancel()
