"""A local port that leads to a service, over real sockets."""

import logging

import pytest
import trio
import trio.testing

from proxy import mapped as module
from proxy.calls import CallRecord
from proxy.crowd import Crowd
from sdk.errors import Status
from sdk.rawsocket import open_tcp
from tests.net import nobody

from .raw import break_off, echo, is_reset, raw_node, read_to_end, serve


async def test_a_connection_to_the_port_is_one_to_the_service() -> None:
    much = bytes(range(256)) * 8_000
    async with raw_node(echo) as node, await open_tcp(node.mapped_address) as program, trio.open_nursery() as nursery:

        async def sends() -> None:
            await program.send_all(much)
            await program.send_eof()

        nursery.start_soon(sends)
        assert await read_to_end(program) == much
        await node.no_calls()


async def test_many_connections_have_nothing_to_do_with_each_other() -> None:
    async with raw_node(echo) as node, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            async with await open_tcp(node.mapped_address) as program:
                await program.send_all(b"%d" % number)
                await program.send_eof()
                assert await read_to_end(program) == b"%d" % number

        for number in range(50):
            nursery.start_soon(one, number)


async def test_a_service_that_breaks_off_is_a_connection_that_breaks_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with raw_node(break_off) as node:
        for _ in range(2):
            async with await open_tcp(node.mapped_address) as program:
                await program.send_all(b"hello")
                assert await is_reset(program)
        await node.no_calls()
    [record] = [each for each in caplog.records if "broken off" in each.message]
    assert "a connection to db was broken off" in record.message


async def test_who_connects_before_the_service_is_known_waits_for_it() -> None:
    async with trio.open_nursery() as nursery, raw_node() as node, await open_tcp(node.mapped_address) as program:
        await program.send_all(b"early")
        await trio.testing.wait_all_tasks_blocked(0.02)
        node.offer(await serve(nursery, echo))
        assert await program.receive_some() == b"early"
        nursery.cancel_scope.cancel()


async def test_a_service_that_stays_unknown_is_a_connection_that_breaks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    async with raw_node() as node, await open_tcp(node.mapped_address) as program:
        with trio.fail_after(30):
            assert await is_reset(program)
    assert "no service called 'db' is known here" in caplog.text


async def test_what_waits_for_its_service_is_one_line_in_the_log_and_one_call(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    records: list[CallRecord] = []
    async with raw_node() as node:
        node.switch.on_call = records.append
        node.node.routes.unreachable["db"] = ("far",)
        async with await open_tcp(node.mapped_address) as one, await open_tcp(node.mapped_address) as other:
            assert await is_reset(one)
            assert await is_reset(other)
        tries = node.switch.refused
        assert not node.switch.patient
    assert [record.status for record in records] == [Status.UNAVAILABLE] * 2
    assert 2 * module.LONGER / module.MOST < tries < 2 * (module.LONGER / module.MOST + 10)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "connections to db wait",
        "a connection to db was broken off",
    ]


async def test_an_instance_that_does_not_answer_is_a_connection_that_breaks(caplog: pytest.LogCaptureFixture) -> None:
    with nobody() as address:
        async with raw_node() as node, await open_tcp(node.mapped_address) as program:
            node.offer(address)
            with trio.fail_after(30):
                assert await is_reset(program)
    assert f"cannot connect to {address}: connection refused" in caplog.text


async def test_a_port_that_goes_away_takes_nothing_new_and_keeps_what_is_open() -> None:
    async with raw_node(echo) as node, await open_tcp(node.mapped_address) as old:
        await old.send_all(b"one")
        assert await old.receive_some() == b"one"
        node.mapped.go_away()
        async with await open_tcp(node.mapped_address) as new:
            assert await is_reset(new)
        await old.send_all(b"two")
        assert await old.receive_some() == b"two"


@pytest.mark.parametrize(
    ("patch", "value", "complaint"),
    [
        ("is_private", lambda host: False, "not of this host or a private network"),
        ("Crowd", lambda: Crowd(most=0), "0 connections are open already"),
    ],
)
async def test_strangers_and_one_too_many_are_refused_with_one_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, patch: str, value: object, complaint: str
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(module, patch, value)
    async with raw_node(echo) as node:
        for _ in range(2):
            async with await open_tcp(node.mapped_address) as program:
                assert await is_reset(program)
        assert node.mapped.refused == 2
    assert [complaint in record.message for record in caplog.records] == [True]


async def test_a_defect_met_on_one_connection_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_node(echo) as node:
        with monkeypatch.context() as context:
            context.setattr(module, "splice", lambda *_: 1 / 0)
            async with await open_tcp(node.mapped_address) as unlucky:
                assert await read_to_end(unlucky) == b""
        assert "ZeroDivisionError" in caplog.text
        async with await open_tcp(node.mapped_address) as program:
            await program.send_all(b"works")
            assert await program.receive_some() == b"works"
