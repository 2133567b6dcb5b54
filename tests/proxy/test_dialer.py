"""Connections to instances, over real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from proxy import dialer as module
from proxy.dialer import TcpDialer
from proxy.tcp import STREAM, TcpPort
from sdk.connection import run_connection
from sdk.errors import Unavailable
from sdk.head import CallHead, pack_call_head
from sdk.port import Port
from sdk.port.http1calling import CallingHttp1Port
from sdk.port.http2 import Http2CallingPort
from sdk.port.native import NativePort
from sdk.rawsocket import RawSocket, bound_address, listen_tcp, take_over
from sdk.types import Instance
from sdk.wire import frame
from sdk.wire.frame import NO_DEADLINE, OPEN, Fate, Open
from sdk.wire.mux import Mux, MuxStream
from tests.net import nobody

from .chain import Node
from .raw import DB, connected, echo, is_reset, serve

OPENED = frame.pack_open(3, b"", NO_DEADLINE, b"head", b"")


class Caller:
    """Opens calls on ports, as the switch does, and keeps what it is told of their ends."""

    def __init__(self) -> None:
        self.told: dict[Port, str] = {}
        self.fates: list[Fate] = []
        self._changed = trio.Event()

    def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frame.RESET:
            port.streams.pop(stream, None)
            self._change()

    def on_dead(self, port: Port, reason: str) -> None:
        assert port not in self.told
        self.told[port] = reason
        self.fates += [Fate.MAY_HAVE_RUN if port.was_sent(stream) else Fate.NOT_REACHED for stream in port.streams]
        port.streams.clear()
        self._change()

    def call(self, port: Port) -> int:
        stream = port.next_stream()
        port.streams[stream] = "call"
        port.send(OPEN, 0, stream, OPENED)
        return stream

    async def reason(self, port: Port) -> str:
        """Why a port is dead, once it is."""
        while port not in self.told:
            await self._changed.wait()
        return self.told[port]

    async def no_calls(self, port: Port) -> None:
        while port.streams:
            await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class InstanceAtWork:
    """A program that accepts connections and calls."""

    def __init__(self) -> None:
        self.address = ""
        self.calls: list[MuxStream] = []
        self.ports: list[NativePort] = []
        self._news = trio.Event()

    async def called(self, times: int) -> None:
        while len(self.calls) < times:
            await self._news.wait()

    async def connected(self, times: int) -> None:
        while len(self.ports) < times:
            await self._news.wait()

    async def serve_one(self, stream: trio.SocketStream) -> None:
        mux = Mux(on_open=self._on_open)
        port = NativePort(mux, role="instance", dialled=False, name="node")
        mux.attach(port)
        self.ports.append(port)
        self._tell()
        await run_connection(port, take_over(stream))

    def _on_open(self, stream: MuxStream, opened: Open) -> None:
        self.calls.append(stream)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


@asynccontextmanager
async def instance() -> AsyncIterator[InstanceAtWork]:
    served = InstanceAtWork()
    async with trio.open_nursery() as nursery:
        listeners = await listen_tcp("127.0.0.1:0")
        served.address = bound_address(listeners[0])
        nursery.start_soon(trio.serve_listeners, served.serve_one, listeners)
        yield served
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def dialling() -> AsyncIterator[tuple[TcpDialer, Caller]]:
    async with trio.open_nursery() as nursery:
        caller = Caller()
        yield TcpDialer(caller, nursery), caller
        nursery.cancel_scope.cancel()


async def test_calls_made_before_the_connection_stands_go_over_it_once_it_does() -> None:
    async with instance() as served, dialling() as (dialer, caller):
        port = dialer.port_to(served.address)
        caller.call(port)
        assert dialer.port_to(served.address) is port
        caller.call(port)
        await served.called(2)
        assert len(served.ports) == 1


async def test_calls_to_an_address_where_nobody_listens_are_not_reached() -> None:
    with nobody() as address:
        async with dialling() as (dialer, caller):
            port = dialer.port_to(address)
            caller.call(port)
            caller.call(port)
            reason = await caller.reason(port)
            assert address in reason
            assert "refused" in reason
            assert caller.fates == [Fate.NOT_REACHED, Fate.NOT_REACHED]


@pytest.mark.parametrize("address", ["a..b:80", "nowhere", "127.0.0.1:99999", f"{'x' * 70}.y:80", "\udcff:1"])
async def test_an_address_that_is_none_is_an_instance_that_is_not_there(address: str) -> None:
    async with instance() as served, dialling() as (dialer, caller):
        port = dialer.port_to(address)
        caller.call(port)
        assert await caller.reason(port)
        assert caller.fates == [Fate.NOT_REACHED]
        caller.call(dialer.port_to(served.address))
        await served.called(1)


async def test_an_address_that_does_not_answer_is_given_up_in_5_s(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(address: str) -> RawSocket:
        await trio.sleep_forever()

    monkeypatch.setattr(module, "open_tcp", never)
    async with dialling() as (dialer, caller):
        port = dialer.port_to("192.0.2.1:80")
        caller.call(port)
        began = trio.current_time()
        assert await caller.reason(port) == "nobody answered in 5 s"
        assert trio.current_time() - began == 5.0
        assert caller.fates == [Fate.NOT_REACHED]


async def test_a_connection_that_was_lost_is_made_again_for_the_next_call() -> None:
    async with instance() as served, dialling() as (dialer, caller):
        first = dialer.port_to(served.address)
        caller.call(first)
        await served.called(1)
        served.ports[0].close("restarting")
        assert await caller.reason(first) == "the peer closed the connection"
        assert caller.fates == [Fate.MAY_HAVE_RUN]
        second = dialer.port_to(served.address)
        assert second is not first
        caller.call(second)
        await served.called(2)


async def test_a_refused_address_is_tried_again_for_the_next_call() -> None:
    with nobody() as address:
        async with dialling() as (dialer, caller):
            first = dialer.port_to(address)
            await caller.reason(first)
            assert dialer.port_to(address) is not first


async def test_a_port_that_drains_is_replaced_and_ends_its_calls_in_peace() -> None:
    async with instance() as served, dialling() as (dialer, caller):
        first = dialer.port_to(served.address)
        kept, refused = caller.call(first), caller.call(first)
        await served.called(2)
        served.calls[1].reset(13, "so that its end is noticed")
        served.ports[0].go_away()
        while not first.draining:
            await caller._changed.wait()
        assert list(first.streams) == [kept]
        assert refused not in first.streams
        second = dialer.port_to(served.address)
        assert second is not first
        caller.call(second)
        await served.called(3)
        served.calls[0].reset(13, "done")
        await caller.no_calls(first)
        served.ports[0].close("drained")
        await caller.reason(first)
        assert dialer.port_to(served.address) is second


async def test_idle_connections_to_instances_that_are_gone_are_closed() -> None:
    async with instance() as gone, instance() as here, instance() as busy, dialling() as (dialer, caller):
        ports = [dialer.port_to(each.address) for each in (gone, here, busy)]
        caller.call(ports[2])
        for each in (gone, here, busy):
            await each.connected(1)
        dialer.keep_only({here.address})
        assert await caller.reason(ports[0]) == "the instance is gone from the registry"
        assert not ports[1].dead
        assert not ports[2].dead
        assert dialer.port_to(busy.address) is ports[2]


async def test_an_instance_that_is_back_at_once_gets_a_new_connection() -> None:
    async with instance() as served, dialling() as (dialer, caller):
        first = dialer.port_to(served.address)
        await served.connected(1)
        dialer.keep_only(set())
        second = dialer.port_to(served.address)
        assert second is not first
        with pytest.raises(Unavailable):
            first.next_stream()
        caller.call(second)
        await served.called(1)
        assert not second.dead


async def test_an_instance_that_goes_while_it_is_dialled_is_not_kept() -> None:
    async with instance() as served, dialling() as (dialer, caller):
        port = dialer.port_to(served.address)
        dialer.keep_only(set())
        assert await caller.reason(port) == "the instance is gone from the registry"
        assert not served.calls


async def test_calls_on_a_port_that_is_dialled_when_the_node_stops_are_not_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(address: str) -> RawSocket:
        await trio.sleep_forever()

    monkeypatch.setattr(module, "open_tcp", never)
    async with dialling() as (dialer, caller):
        port = dialer.port_to("192.0.2.1:80")
        caller.call(port)
        await trio.testing.wait_all_tasks_blocked()
    assert caller.told == {port: "this end is stopping"}
    assert caller.fates == [Fate.NOT_REACHED]


async def test_a_defect_met_on_one_connection_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Caller):
        def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
            raise ZeroDivisionError

    async with instance() as served, instance() as other, trio.open_nursery() as nursery:
        caller = Broken()
        dialer = TcpDialer(caller, nursery)
        port = dialer.port_to(served.address)
        caller.call(port)
        await served.called(1)
        served.calls[0].reset(13, "a frame")
        assert "ZeroDivisionError" in await caller.reason(port)
        caller.call(dialer.port_to(other.address))
        await other.called(1)
        nursery.cancel_scope.cancel()
    assert served.address in caplog.text


# Raw connections.


async def test_a_raw_connection_takes_one_call_and_its_bytes_as_they_are() -> None:
    async with trio.open_nursery() as nursery:
        address = await serve(nursery, echo)
        mux = Mux()
        dialer = TcpDialer(mux, nursery)
        first, second = dialer.raw_to(address), dialer.raw_to(address)
        assert first is not second
        mux.attach(first)
        stream, changed = mux.open(b"head", b"hello", end=True), trio.Event()
        stream.on_change = lambda: changed.set() if stream.ended else None
        await changed.wait()
        assert stream.take() == b"hello"
        assert not stream.cut
        nursery.cancel_scope.cancel()


async def test_raw_calls_to_an_address_where_nobody_listens_are_not_reached() -> None:
    with nobody() as address:
        async with dialling() as (dialer, caller):
            port = dialer.raw_to(address)
            caller.call(port)
            assert "refused" in await caller.reason(port)
            assert caller.fates == [Fate.NOT_REACHED]


async def test_a_raw_call_that_is_given_up_while_its_address_is_dialled_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program, transport = await connected()
    may_connect = trio.Event()

    async def slowly(address: str) -> RawSocket:
        await may_connect.wait()
        return transport

    monkeypatch.setattr(module, "open_tcp", slowly)
    async with dialling() as (dialer, caller), program:
        port = dialer.raw_to("db:5432")
        stream = port.next_stream()
        port.streams[stream] = "call"
        port.send(OPEN, 0, stream, frame.pack_open(3, b"", NO_DEADLINE, b"head", b"DROP TABLE"))
        port.send(frame.RESET, 0, stream, frame.pack_reset(frame.Reset(1, Fate.MAY_HAVE_RUN, "it has left")))
        may_connect.set()
        with trio.fail_after(30):
            assert await is_reset(program)
            assert await caller.reason(port) == "it has left"


async def test_a_raw_call_whose_answer_nobody_wants_before_its_address_is_dialled_harms_nobody_else() -> None:
    """Whoever may call at all could else end the node with two frames."""

    def dial(node: Node, address: str) -> Port:
        return dialer.raw_to(address)

    async with trio.open_nursery() as nursery:
        node = Node(b"n" * 16, "here", dial)
        dialer = TcpDialer(node.switch, nursery)
        address = await serve(nursery, echo)
        node.routes.instances["db"] = (Instance(id="db-1", address=address, metadata={"protocol": "tcp"}),)
        hasty, patient = (TcpPort(node.switch, name="program", clock=trio.current_time) for _ in range(2))
        hasty.open(DB)
        node.switch.on_frame(hasty, frame.STOP, 0, STREAM, b"")
        patient.open(DB)
        patient.receive_data(b"hello")
        with trio.fail_after(30):
            while b"hello" not in patient.data_to_send():
                await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_raw_calls_that_are_open_when_the_node_stops_are_broken_off() -> None:
    async with trio.open_nursery() as nursery:
        address = await serve(nursery, echo)
        async with dialling() as (dialer, caller):
            port = dialer.raw_to(address)
            caller.call(port)
            while not port.was_sent(1):
                await trio.testing.wait_all_tasks_blocked()
        assert caller.told == {port: "this end is stopping"}
        assert caller.fates == [Fate.MAY_HAVE_RUN]
        nursery.cancel_scope.cancel()


async def test_raw_connections_are_kept_when_their_instance_leaves_the_registry() -> None:
    async with trio.open_nursery() as nursery:
        address = await serve(nursery, echo)
        async with dialling() as (dialer, caller):
            port = dialer.raw_to(address)
            caller.call(port)
            dialer.keep_only(set())
            while not port.was_sent(1):
                await trio.testing.wait_all_tasks_blocked()
            assert not port.dead
        nursery.cancel_scope.cancel()


async def test_an_instance_of_grpc_that_is_full_gets_another_connection() -> None:
    async with dialling() as (dialer, _):
        with nobody() as address:
            first = dialer.grpc_to(address)
            assert dialer.grpc_to(address) is first
            assert isinstance(first, Http2CallingPort)
            first.go_away()
            second = dialer.grpc_to(address)
            assert second is not first
            assert dialer.grpc_to(address) is second


async def test_what_an_instance_takes_of_a_long_write_is_seen_at_its_port() -> None:
    taken = trio.Event()

    async def takes_some(stream: trio.SocketStream) -> None:
        await taken.wait()
        for _ in range(1000):
            await stream.receive_some()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        address = await serve(nursery, takes_some)
        port = TcpDialer(Caller(), nursery).http_to(address)
        assert isinstance(port, CallingHttp1Port)
        metadata = (":method", "POST", ":scheme", "http", ":authority", "a")
        head = pack_call_head(CallHead("a", "/", "http", metadata=metadata, call_id=bytes(16)))
        port.send(OPEN, 0, 1, frame.pack_open(3, b"", NO_DEADLINE, head, b""))
        port.send(frame.DATA, 0, 1, bytes(50_000_000))
        await trio.testing.wait_all_tasks_blocked()
        before = port.progress()
        taken.set()
        with trio.fail_after(30):
            while port.progress() <= before:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
