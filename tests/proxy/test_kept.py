"""Connections that are kept for the next call, as the ports that they are; no sockets."""

from collections.abc import Callable

from proxy.kept import KeptConnections, KeptPort
from sdk.port.http1calling import KEPT, CallingHttp1Port
from sdk.wire.mux import Mux, MuxStream
from tests.sdk.port.test_http1calling import OK, head


class Pool:
    """Kept connections, and every port that was made for them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.dialled: list[tuple[str, CallingHttp1Port]] = []
        self.muxes: dict[KeptPort, Mux] = {}
        self.kept = KeptConnections(self._dial)

    def _dial(self, address: str, on_free: Callable[[KeptPort], None]) -> KeptPort:
        mux = Mux()
        port = CallingHttp1Port(mux, name=address, clock=lambda: self.now, on_free=on_free)
        mux.attach(port)
        self.muxes[port] = mux
        self.dialled.append((address, port))
        return port

    def call(self, address: str = "a:1") -> tuple[KeptPort, MuxStream]:
        port = self.kept.port_to(address)
        stream = self.muxes[port].open(head(), end=True)
        assert isinstance(port, CallingHttp1Port)
        port.data_to_send()
        return port, stream

    def answer(self, port: KeptPort) -> None:
        assert isinstance(port, CallingHttp1Port)
        port.receive_data(OK)


def test_a_connection_is_used_again_when_its_call_is_over() -> None:
    pool = Pool()
    first, stream = pool.call()
    second, _ = pool.call()
    assert first is not second
    pool.answer(first)
    assert stream.take() == b"hello"
    assert pool.call()[0] is first
    assert pool.call("b:1")[0] not in (first, second)
    assert [address for address, _ in pool.dialled] == ["a:1", "a:1", "b:1"]


def test_the_one_that_was_used_last_is_used_first() -> None:
    pool = Pool()
    ports = [pool.call()[0] for _ in range(3)]
    for port in ports:
        pool.answer(port)
    for _ in range(5):
        port, _ = pool.call()
        assert port is ports[-1]
        pool.answer(port)


def test_used_last_means_whose_call_was_over_last() -> None:
    pool = Pool()
    ports = [pool.call()[0] for _ in range(3)]
    for port in ports:
        pool.answer(port)
    (third, _), (second, _) = pool.call(), pool.call()
    assert [third, second] == [ports[2], ports[1]]
    pool.answer(third)
    pool.answer(second)
    assert pool.call()[0] is second


def test_however_connections_come_and_go_no_more_is_remembered_than_there_are() -> None:
    pool = Pool()
    for _ in range(100):
        ports = [pool.call()[0] for _ in range(3)]
        for port in reversed(ports):
            pool.answer(port)
    assert len(pool.dialled) == 3
    assert len(pool.kept._free["a:1"]) == 3


def test_a_port_that_was_chosen_and_got_no_call_is_still_there() -> None:
    pool = Pool()
    pool.answer(pool.call()[0])
    assert pool.kept.port_to("a:1") is pool.kept.port_to("a:1")


def test_a_connection_that_is_gone_or_was_kept_for_too_long_is_not_used() -> None:
    pool = Pool()
    first, second = (pool.call()[0] for _ in range(2))
    pool.answer(first)
    pool.answer(second)
    pool.dialled[1][1].connection_lost("the instance closed it")
    assert pool.kept.port_to("a:1") is first
    pool.now += KEPT
    assert pool.kept.port_to("a:1") not in (first, second)


def test_a_connection_that_is_gone_is_forgotten() -> None:
    pool = Pool()
    first, second = (pool.call()[0] for _ in range(2))
    pool.kept.forget("a:1", first)  # it had a call, and was not kept
    pool.answer(first)
    pool.answer(second)
    pool.kept.forget("a:1", second)
    assert pool.kept.port_to("a:1") is first
    pool.kept.forget("a:1", first)
    assert not pool.kept._free


def test_free_connections_to_instances_that_are_gone_are_closed() -> None:
    pool = Pool()
    busy, _ = pool.call()
    free, _ = pool.call()
    other, _ = pool.call("b:1")
    pool.answer(free)
    pool.answer(other)
    pool.kept.keep_only({"b:1"})
    assert [port.finished_writing for _, port in pool.dialled] == [False, True, False]
    pool.answer(busy)
    assert pool.kept.port_to("b:1") is other
