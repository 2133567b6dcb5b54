import math
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sdk.answer import ServerStream
from sdk.codec import BYTES
from sdk.errors import BadRequest, RemoteProtocolError, Unavailable
from sdk.head import CallHead
from sdk.port.inner import inner_pair
from sdk.wire.frame import MAX_PAYLOAD
from sdk.wire.message import encode_message
from sdk.wire.mux import Mux, MuxStream
from tests.sdk.ends import Ends


async def test_messages_of_any_size_come_in_order() -> None:
    ends = Ends()
    messages = ["x" * size for size in (0, 1, 65_530, 65_531, 65_532, 300_000, 1)]

    async def send() -> None:
        for message in messages:
            await ends.client.send(message)
        await ends.client.send_eof()

    async with ends.flowing(), trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert [message async for message in ends.server] == messages
    with pytest.raises(trio.EndOfChannel):
        await ends.server.receive()


async def test_many_messages_in_one_frame_are_taken_apart() -> None:
    ends = Ends(b"".join(encode_message(b"%d" % n) for n in range(5)), end=True)
    assert [message async for message in ends.server] == [0, 1, 2, 3, 4]


async def test_a_sender_waits_for_the_reader() -> None:
    ends = Ends()
    sent = 0

    async def send() -> None:
        nonlocal sent
        for _ in range(10):
            await ends.client.send("x" * 50_000)
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        ends.pair.pump()
        await wait_all_tasks_blocked()
        assert sent == 1
        await ends.server.receive()
        ends.pair.pump()
        await wait_all_tasks_blocked()
        assert sent == 2
        nursery.cancel_scope.cancel()


async def test_one_task_at_a_time_may_receive_and_one_may_send() -> None:
    ends = Ends()

    async def send() -> None:
        await ends.client.send("x" * 2 * MAX_PAYLOAD)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.client.receive)
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await ends.client.receive()
        with pytest.raises(trio.BusyResourceError):
            await ends.client.send(1)
        nursery.cancel_scope.cancel()


async def test_a_receiver_that_was_cancelled_may_receive_again() -> None:
    ends = Ends()
    with trio.move_on_after(0):
        await ends.server.receive()
    await ends.client.send(1)
    ends.pair.pump()
    assert await ends.server.receive() == 1


async def test_cancelled_in_the_middle_of_a_message_the_call_is_cut_short() -> None:
    ends = Ends()
    with trio.move_on_after(0.01) as scope:
        await ends.client.send("x" * 2 * MAX_PAYLOAD)
    assert scope.cancelled_caught
    ends.pair.pump()
    assert ends.server.scope.cancel_called
    with pytest.raises(trio.ClosedResourceError):
        await ends.client.send(1)


async def test_cancelled_before_anything_was_sent_the_call_goes_on() -> None:
    ends = Ends()
    with trio.move_on_after(0):
        await ends.client.send(1)
    await ends.client.send(2)
    ends.pair.pump()
    assert await ends.server.receive() == 2


async def test_nothing_is_sent_after_the_end() -> None:
    ends = Ends()
    await ends.client.send_eof()
    with pytest.raises(trio.ClosedResourceError):
        await ends.client.send(1)


async def test_a_message_that_cannot_be_encoded_leaves_the_stream_usable() -> None:
    ends = Ends()
    with pytest.raises(TypeError, match="application/json"):
        await ends.client.send(object())
    await ends.client.send(1)
    ends.pair.pump()
    assert await ends.server.receive() == 1


@pytest.mark.parametrize(
    "body", [encode_message(b"{"), encode_message(b"whole")[:-1], b"\x01\x00\x00\x00\x00", encode_message(b'"text"')]
)
async def test_a_message_that_cannot_be_read_is_the_fault_of_who_sent_it(body: bytes) -> None:
    def only_numbers(data: Any) -> Any:
        from sdk.schema import converter

        convert = converter(int)
        assert convert is not None
        return convert(data)

    ends = Ends(body, end=True, convert=only_numbers)
    with pytest.raises(BadRequest, match=r"greeter Greeter\.Chat: the request cannot be read: "):
        await ends.server.receive()
    answered = Ends(convert=only_numbers)
    answered.server._stream.send_head(b"\x95\xa0\x90\x00\xa0\x90", body, end=True)
    answered.pair.pump()
    with pytest.raises(RemoteProtocolError):
        await answered.client.receive()


async def test_a_connection_that_is_lost_wakes_everybody() -> None:
    ends = Ends()

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError, match="cut"):
            await ends.client.send("x" * 2 * MAX_PAYLOAD)

    async def receive() -> None:
        with pytest.raises(Unavailable, match="cut"):
            await ends.client.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        ends.pair.client.port.connection_lost("the cable was cut")


async def test_what_comes_within_the_grant_of_credit_is_not_overlooked() -> None:
    # Inside one process nothing is in between: whoever is granted credit sends before the grant returns.
    opened: list[MuxStream] = []
    sending, taking = Mux(), Mux(on_open=lambda stream, _: opened.append(stream))
    near, far = inner_pair(sending, taking, name="here", clock=trio.current_time)
    sending.attach(near)
    taking.attach(far)
    stream = sending.open(b"head", end=False)
    left = memoryview(encode_message(bytes(300_000)))

    def write() -> None:
        nonlocal left
        left = left[stream.write(left) :]

    stream.on_change = write
    write()
    receiver = ServerStream(opened[0], CallHead("a", "A.B", content_type=BYTES), None, math.inf)
    with trio.fail_after(30):
        assert await receiver.receive() == bytes(300_000)


async def test_tasks_that_outlive_the_call_do_not_wait_for_it() -> None:
    async def wait(stream: Any) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive()

    ends = Ends()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, ends.server)
        nursery.start_soon(wait, ends.client)
        await wait_all_tasks_blocked()
        ends.server.finish()
        ends.client.close()
    with pytest.raises(trio.ClosedResourceError, match="the call is over"):
        await ends.server.receive()
