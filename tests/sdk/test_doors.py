"""Listeners that close."""

import socket

import pytest
import trio
import trio.testing

from sdk.doors import Doors
from sdk.netaddress import split_address
from sdk.rawsocket import bound_address, listen_tcp

CONNECTIONS = 50


async def test_all_who_have_connected_are_let_in_before_they_close() -> None:
    doors, served = Doors(), []

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            served.append(await stream.receive_some())

    async with trio.open_nursery() as nursery:
        listeners = await listen_tcp("127.0.0.1:0")
        address = split_address(bound_address(listeners[0]))
        nursery.start_soon(doors.serve, serve, listeners, nursery)
        await trio.testing.wait_all_tasks_blocked()
        # Nobody accepts them yet: this task does not give way.
        knocking = [socket.create_connection(address) for _ in range(CONNECTIONS)]
        await doors.close()
        assert doors.closed
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address).close()
        for each in knocking:
            each.sendall(b"x")
            each.close()
        with trio.fail_after(30):
            while len(served) < CONNECTIONS:
                await trio.lowlevel.checkpoint()
    assert served == [b"x"] * CONNECTIONS


async def test_without_listeners_there_is_nothing_but_the_end_to_wait_for() -> None:
    doors = Doors()

    async def serve(stream: trio.SocketStream) -> None:
        raise AssertionError(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(doors.serve, serve, [], nursery)
        await trio.testing.wait_all_tasks_blocked()
        assert not doors.closed
        await doors.close()
        await doors.close()
    assert doors.closed
