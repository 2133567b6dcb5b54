from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from sdk.errors import BadRequest, Conflict
from sdk.netaddress import split_address
from sdk.rawsocket import RawSocket, open_tcp
from sdk.wire import frame
from tests.tunnel.bench import KEYS, NETWORK, TOKEN, Log, Node, node, raw_link
from tests.tunnel.transport.certificates import files
from tunnel import tunnel as tunnel_module
from tunnel.admission import MAX_OF_ONE, MAX_OF_STRANGERS, Refusal
from tunnel.dialling import Dialler, SeedState
from tunnel.handshake import PREFACE
from tunnel.identity import network_key
from tunnel.meter import Segments
from tunnel.transport.memory import MemoryNetwork
from tunnel.transport.tls import TlsConfig
from tunnel.tunnel import TunnelConfig

pytestmark = pytest.mark.usefixtures("log")

# On a virtual clock, in memory.


async def test_two_nodes_link_up_and_frames_and_messages_cross(autojump_clock: MockClock) -> None:
    net = MemoryNetwork()
    async with node(0, "mem://a", network=net) as a, node(1, network=net, seeds=("mem://a",)) as b:
        at_b, at_a = await b.linked(a), await a.linked(b)
        assert (at_b.name, at_b.address, at_b.transport, at_b.dialled) == ("n0", "mem://a", "mem", True)
        assert (at_a.name, at_a.transport, at_a.dialled) == ("n1", "mem", False)
        assert at_b.addresses == a.tunnel.bound == ("mem://a",)
        assert at_b.port.peer == a.id
        at_b.send_control(b"gossip")
        at_a.port.send(frame.OPEN, frame.END, at_a.port.next_stream(), b"call")
        with trio.fail_after(5):
            await a.recorder.until(lambda: a.recorder.controls == [b"gossip"])
            await b.recorder.until(lambda: b.recorder.frames == [(frame.OPEN, frame.END, 2, b"call")])
        [seed] = b.tunnel.seeds()
        assert (seed.address, seed.state, seed.attempts, seed.last_error) == ("mem://a", SeedState.LINKED, 1, "")
        assert a.tunnel.statistics().links == b.tunnel.statistics().links == 1
        assert a.recorder.story == ["up: n1"]
        assert b.recorder.story == ["up: n0"]


async def test_a_link_that_is_quiet_stays_up(autojump_clock: MockClock) -> None:
    net = MemoryNetwork()
    async with node(0, "mem://a", network=net) as a, node(1, network=net, seeds=("mem://a",)) as b:
        link = await b.linked(a)
        await trio.sleep(3600)
        assert b.tunnel.links == {a.id: link}
        assert link.statistics().srtt == 0


async def test_a_node_that_dies_is_noticed_at_once_and_linked_again_when_it_returns(
    autojump_clock: MockClock,
) -> None:
    net = MemoryNetwork()
    async with node(1, network=net, seeds=("mem://a",)) as b:
        async with node(0, "mem://a", network=net) as a:
            await b.linked(a)
            died = trio.current_time()
        await b.recorder.until_story(
            "up: n0", "down: n0: the peer closed the connection", "dead: the peer closed the connection"
        )
        assert trio.current_time() == died
        await trio.sleep(10)
        [seed] = b.tunnel.seeds()
        assert seed.state in (SeedState.WAITING, SeedState.DIALLING)
        assert seed.last_error == "cannot connect to mem://a: nobody listens there"
        returned = trio.current_time()
        async with node(0, "mem://a", network=net, epoch=2) as a:
            assert (await b.linked(a)).epoch == 2
            assert trio.current_time() - returned < 4


async def test_an_address_that_does_not_answer_is_tried_for_ever_ever_more_slowly(
    autojump_clock: MockClock, log: Log
) -> None:
    async with node(0, seeds=("mem://nowhere",)) as a:
        attempts = []
        for until in (1, 10, 100, 10_000):
            await trio.sleep(until - trio.current_time())
            attempts.append(a.tunnel.seeds()[0].attempts)
        assert 3 <= attempts[0] <= 8
        assert attempts[1] - attempts[0] <= 12
        assert 10_000 / 30 <= attempts[3] <= 10_000 / 10
        assert log.lines == [
            "no link with mem://nowhere: cannot connect to mem://nowhere: nobody listens there; it is tried for ever"
        ]


async def test_with_a_wrong_token_both_ends_say_so_in_one_line_and_keep_running(
    autojump_clock: MockClock, log: Log
) -> None:
    net = MemoryNetwork()
    async with (
        node(0, "mem://a", network=net) as a,
        node(1, network=net, seeds=("mem://a",), token="other token") as b,
        node(2, network=net, seeds=("mem://a",)) as c,
    ):
        await c.linked(a)
        await trio.sleep(40)
        assert not b.tunnel.links
        assert b.tunnel.seeds()[0].last_error == "token or network name differs"
        assert b.tunnel.seeds()[0].attempts > 5
    assert sorted(log.lines) == [
        "no link with mem://a: token or network name differs; it is tried for ever",
        "refused a link from a dialler of mem://a: token or network name differs",
    ]


async def test_a_dialler_with_several_tokens_finds_the_right_one_at_once_and_remembers_it(
    autojump_clock: MockClock, log: Log
) -> None:
    net = MemoryNetwork()
    tokens = ("other token", "one more token", TOKEN)
    async with node(1, network=net, seeds=("mem://a",), token=tokens) as b:
        async with node(0, "mem://a", network=net) as a:
            begun = trio.current_time()
            await b.linked(a)
            assert trio.current_time() - begun < 1
            assert b.tunnel.seeds()[0].attempts == 1
            assert log.lines == ["refused a link from a dialler of mem://a: token or network name differs"]
        log.lines.clear()
        async with node(0, "mem://a", network=net, epoch=2) as a:
            await b.linked(a)
        assert not any("token" in line for line in log.lines)


async def test_a_node_with_several_tokens_lets_in_who_has_any_of_them(autojump_clock: MockClock, log: Log) -> None:
    net = MemoryNetwork()
    async with (
        node(0, "mem://a", network=net, token=("other token", TOKEN)) as a,
        node(1, network=net, seeds=("mem://a",), token="other token") as b,
        node(2, network=net, seeds=("mem://a",)) as c,
    ):
        await b.linked(a)
        await c.linked(a)
    assert not log.lines


async def test_tokens_are_replaced_while_links_stay_up(autojump_clock: MockClock) -> None:
    net = MemoryNetwork()
    network_key("other token", NETWORK)
    async with node(0, "mem://a", network=net) as a, node(1, network=net, seeds=("mem://a",)) as b:
        link = await b.linked(a)
        await a.tunnel.set_tokens(("other token",), private_only=False)
        await trio.sleep(60)
        assert b.tunnel.links == {a.id: link}
        async with node(2, network=net, seeds=("mem://a",)) as c:
            await trio.sleep(5)
            assert c.tunnel.seeds()[0].last_error == "token or network name differs"
        async with node(2, network=net, seeds=("mem://a",), token="other token") as c:
            await c.linked(a)
        with pytest.raises(BadRequest, match="0 tokens"):
            await a.tunnel.set_tokens((), private_only=False)
        with pytest.raises(BadRequest, match="5 tokens"):
            await a.tunnel.set_tokens(("1", "2", "3", "4", "5"), private_only=False)


async def test_a_node_does_not_link_with_itself(autojump_clock: MockClock, log: Log) -> None:
    net = MemoryNetwork()
    async with node(0, "mem://a", network=net, seeds=("mem://a",)) as a:
        await trio.sleep(10)
        [seed] = a.tunnel.seeds()
        assert (seed.state, seed.attempts) == (SeedState.ITSELF, 1)
        assert seed.last_error == "the address leads to this node itself"
        await trio.sleep(600)
        assert 5 < a.tunnel.seeds()[0].attempts < 15
        assert not a.tunnel.links
        assert not a.recorder.story
    assert log.lines == ["no link with mem://a: the address leads to this node itself; it is tried for ever"]


async def test_a_second_node_with_our_id_is_refused(autojump_clock: MockClock) -> None:
    net = MemoryNetwork()
    async with node(0, "mem://a", network=net) as a, node(0, network=net, seeds=("mem://a",)) as twin:
        await trio.sleep(10)
        assert twin.tunnel.seeds()[0].state is SeedState.ITSELF
        assert not a.tunnel.links


async def test_a_silent_peer_is_given_up_after_two_and_a_half_seconds_and_dialled_again(
    autojump_clock: MockClock,
) -> None:
    net = MemoryNetwork()
    async with node(1, "mem://b", network=net) as b, raw_link(net, "mem://b", epoch=1):
        await b.recorder.until_story("up: zero")
        since = trio.current_time()
        reason = "zero was silent for 2.5 s"
        await b.recorder.until_story("up: zero", f"down: zero: {reason}", f"dead: {reason}")
        assert trio.current_time() - since == pytest.approx(2.5, abs=0.1)


async def test_a_control_message_that_makes_no_sense_ends_the_link_with_that_reason(
    autojump_clock: MockClock,
) -> None:
    net = MemoryNetwork()
    async with node(0, "mem://a", network=net) as a, node(1, network=net, seeds=("mem://a",)) as b:
        link = await b.linked(a)
        a.recorder.refuse_control = True
        link.send_control(b"nonsense")
        await a.recorder.until_story(
            "up: n1", "down: n1: this message makes no sense", "dead: this message makes no sense"
        )


async def test_a_half_open_connection_is_closed_after_five_seconds(autojump_clock: MockClock, log: Log) -> None:
    net = MemoryNetwork()
    async with node(0, "mem://a", network=net) as a, node(1, network=net, seeds=("mem://a",)) as b:
        await b.linked(a)
        since = trio.current_time()
        silent, slow = await net.dial("a"), await net.dial("a")
        await slow.send_all(PREFACE)
        assert await slow.receive_some() == PREFACE
        assert a.tunnel.statistics().in_progress == 2
        for stream in (silent, slow):
            assert await stream.receive_some() == b""
            assert trio.current_time() - since == pytest.approx(5)
        assert a.tunnel.statistics().in_progress == 0
        assert b.id in a.tunnel.links
    assert "refused a link from a dialler of mem://a: it did not finish its handshake within 5 s" in log.lines


async def test_a_node_that_never_answers_the_dialler_is_left(autojump_clock: MockClock) -> None:
    net = MemoryNetwork()
    async with net.listen("deaf") as listener, node(0, network=net, seeds=("mem://deaf",)) as a:
        stream = await listener.accept()
        await trio.sleep(5.1)
        assert a.tunnel.seeds()[0].last_error == "it did not finish its handshake within 5 s"
        assert await stream.receive_some() == PREFACE
        assert await stream.receive_some() == b""


async def test_garbage_is_answered_by_closing(autojump_clock: MockClock, log: Log) -> None:
    net = MemoryNetwork()
    async with node(0, "mem://a", network=net):
        stream = await net.dial("a")
        await stream.send_all(b"garbage" * 1000)
        assert await stream.receive_some() == b""
    assert log.lines == [
        "refused a link from a dialler of mem://a: the other end is no node's link port: it began with b'garbageg'"
    ]


async def test_at_most_64_handshakes_are_in_progress(autojump_clock: MockClock) -> None:
    net = MemoryNetwork()
    async with node(0, "mem://a", network=net) as a, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(await net.dial("a")) for _ in range(70)]
        for stream in streams[64:]:
            assert await stream.receive_some() == b""
        assert trio.current_time() == 0
        statistics = a.tunnel.statistics()
        assert (statistics.in_progress, statistics.refused) == (64, {Refusal.TOO_MANY: 6})
        await trio.sleep(6)
        async with node(1, network=net, seeds=("mem://a",)) as b:
            await b.linked(a)


async def test_a_node_whose_name_is_too_long_to_be_told_does_not_start(autojump_clock: MockClock) -> None:
    with pytest.RaisesGroup(BadRequest):
        async with node(0, name="n" * 300):
            pass


@pytest.mark.parametrize("address", ["quic://a:1", "tcp://nowhere", "ws://[::1:80", "host:port"])
async def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    async with node(0) as a:
        with pytest.raises(BadRequest):
            a.tunnel.connect(address)
        assert a.tunnel.seeds() == []


def test_a_configuration_does_not_show_its_token() -> None:
    assert TOKEN not in repr(TunnelConfig(listen=(":0",), tokens=(TOKEN,), network=NETWORK))


# Over real sockets.


@pytest.fixture
def tls(tmp_path: Path) -> TlsConfig:
    return files(tmp_path, ca="trusted")


@pytest.mark.parametrize("scheme", ["", "tcp://", "ws://", "wss://"])
async def test_tcp_websocket_and_tls_share_one_port(scheme: str, tls: TlsConfig) -> None:
    async with node(0, "127.0.0.1:0", tls=tls) as a, node(1, seeds=(scheme + a.tunnel.bound[0],), tls=tls) as b:
        link, back = await b.linked(a), await a.linked(b)
        assert link.transport == back.transport == (scheme.removesuffix("://") or "tcp")
        assert back.address.startswith("127.0.0.1:")
        sent = [bytes([number]) * 60_000 for number in range(40)]
        for payload in sent:
            link.send_control(payload)
            back.send_control(payload)
        with trio.fail_after(20):
            await a.recorder.until(lambda: len(a.recorder.controls) == 40)
            await b.recorder.until(lambda: len(b.recorder.controls) == 40)
        assert a.recorder.controls == b.recorder.controls == sent
        assert 0 < (link.round_trip.srtt or 0) < 1


@pytest.mark.parametrize("scheme", ["tcp", "ws", "wss"])
async def test_what_tcp_sends_again_is_known_as_the_loss_of_the_link(
    scheme: str, tls: TlsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunnel.transport.tcp.segments", lambda connection: Segments(sent=500, again=50))
    async with node(0, "127.0.0.1:0", tls=tls) as a, node(1, seeds=(f"{scheme}://{a.tunnel.bound[0]}",), tls=tls) as b:
        link = await b.linked(a)
        link.port.handle_timeout(link.port.next_timeout())
        assert link.loss == 0.1


@pytest.mark.parametrize("scheme", ["tcp", "ws", "wss"])
async def test_a_real_peer_that_leaves_is_noticed_at_once(scheme: str, tls: TlsConfig, mock_clock: MockClock) -> None:
    async with node(0, "127.0.0.1:0", tls=tls) as a:
        async with node(1, seeds=(f"{scheme}://{a.tunnel.bound[0]}",), tls=tls) as b:
            await a.linked(b)
        await a.recorder.until(lambda: len(a.recorder.story) == 3)
        assert mock_clock.current_time() == 0
        assert a.recorder.story[0] == "up: n1"
        assert a.recorder.story[1].startswith("down: n1: ")
        assert not a.tunnel.links


@pytest.mark.parametrize("scheme", ["tcp", "ws", "wss"])
async def test_a_wrong_token_is_told_at_both_ends_with_the_address(scheme: str, tls: TlsConfig, log: Log) -> None:
    async with node(0, "127.0.0.1:0", tls=tls) as a:
        address = f"{scheme}://{a.tunnel.bound[0]}"
        async with node(1, seeds=(address,), token="other token", tls=tls):
            failed, refused = await log.until(2)
    assert refused.startswith("refused a link from 127.0.0.1:")
    assert refused.endswith(": token or network name differs")
    assert failed == f"no link with {address}: token or network name differs; it is tried for ever"


@asynccontextmanager
async def stranger(a: Node) -> AsyncIterator[RawSocket]:
    socket = await open_tcp(a.tunnel.bound[0])
    async with socket:
        yield socket


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "it speaks TLS, and this node has no --tls-cert (MICRO_TLS_CERT)"),
        (b"GEX / HTTP/1.1\r\n\r\n", "it is neither a node nor a WebSocket"),
        (b"\xffmicro\x01\x01", "it is neither a node nor a WebSocket"),
        (b"\xfeother\x01\x01", "the other end is no node's link port"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "its WebSocket upgrade came to nothing"),
        (b"GET \x00\x01\x02\r\n\r\n", "its WebSocket upgrade came to nothing"),
        (b"", "it closed the connection before it said anything"),
        (b"GE", "it is neither a node nor a WebSocket"),
    ],
)
async def test_strangers_are_shown_the_door_and_others_are_not_disturbed(said: bytes, found: str, log: Log) -> None:
    async with node(0, "127.0.0.1:0") as a, node(1, seeds=a.tunnel.bound) as b:
        await b.linked(a)
        async with stranger(a) as socket:
            await socket.send_all(said)
            if len(said) < 4:
                socket._socket.shutdown(1)
            with trio.fail_after(30):
                try:
                    while await socket.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
        [line] = await log.until(1)
        assert line.startswith("refused a link from 127.0.0.1:")
        assert found in line
        assert len(line) < 200
        assert len(a.tunnel.links) == 1


async def test_with_the_default_token_public_peers_are_refused_and_named_once(
    monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    # No test machine has a public address: this one calls loopback public.
    monkeypatch.setattr(tunnel_module, "is_private", lambda host: host != "127.0.0.1")
    async with node(0, "127.0.0.1:0", private_only=True) as a:
        for _ in range(3):
            async with stranger(a) as socket:
                with trio.fail_after(30):
                    assert await socket.receive_some() == b""
        assert a.tunnel.statistics().refused == {Refusal.FROM_OUTSIDE: 3}
    [line] = log.lines
    assert line.startswith("refused a link from 127.0.0.1:")
    assert line.endswith("with the default token only loopback and private addresses may link")


async def test_with_the_default_token_private_peers_are_welcome() -> None:
    async with node(0, "127.0.0.1:0", private_only=True) as a, node(1, seeds=a.tunnel.bound) as b:
        await b.linked(a)


async def test_a_port_that_is_taken_is_named() -> None:
    async with node(0, "127.0.0.1:0") as a:
        with pytest.RaisesGroup(Conflict, match=None) as caught:
            async with node(1, *a.tunnel.bound):
                pass
        assert a.tunnel.bound[0].rpartition(":")[2] in str(caught.value.exceptions[0])


@pytest.mark.parametrize("header", ["Forwarded: for=8.8.8.8", "x-forwarded-for: 10.0.0.1", "Via: 1.1 front"])
@pytest.mark.parametrize("default_token", [True, False])
async def test_with_the_default_token_nobody_comes_through_a_proxy_that_forwards_for_others(
    header: str, default_token: bool, log: Log
) -> None:
    request = (
        f"GET / HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{header}\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with node(0, "127.0.0.1:0", private_only=default_token) as a:
        async with stranger(a) as socket:
            await socket.send_all(request.encode())
            with trio.fail_after(30):
                answer = await socket.receive_some()
        if not default_token:
            assert answer.startswith(b"HTTP/1.1 101 ")
            return
        assert answer.startswith(b"HTTP/1.1 403 ")
        [line] = await log.until(1)
        assert line.endswith("with the default token nobody may link through a proxy that forwards for others")
        assert a.tunnel.statistics().refused == {Refusal.FROM_OUTSIDE: 1}


async def test_each_connection_that_comes_to_no_link_is_counted_under_its_own_name(autojump_clock: MockClock) -> None:
    net = MemoryNetwork()
    async with (
        node(0, "mem://a", network=net, admitted=frozenset({KEYS[1].id})) as a,
        node(1, network=net, seeds=("mem://a",)) as b,
    ):
        await b.linked(a)

        for number, token in ((2, TOKEN), (2, "other token"), (1, "other token")):
            async with node(number, network=net, seeds=("mem://a",), token=token) as c:
                await trio.sleep(0.05)  # the second try comes later
                assert c.tunnel.seeds()[0].last_error
        async with await net.dial("a") as silent:
            await trio.sleep(6)
            assert await silent.receive_some() == PREFACE[:0]
        async with await net.dial("a") as rude:
            await rude.send_all(b"GET / HTTP/1.1\r\n\r\n")
            await rude.receive_some()
        async with await net.dial("a"):
            pass
        await trio.sleep(1)
        assert a.tunnel.statistics().refused == {
            Refusal.NOT_ADMITTED: 1,
            Refusal.WRONG_TOKEN: 2,
            Refusal.TIMED_OUT: 1,
            Refusal.MALFORMED: 1,
            Refusal.BROKE_OFF: 1,
        }
        assert a.tunnel.statistics().in_progress == 0
        assert set(a.tunnel.links) == {b.id}


async def test_a_flood_of_silent_strangers_keeps_out_neither_links_nor_who_was_here_before(log: Log) -> None:
    async with node(0, "127.0.0.1:0") as a, AsyncExitStack() as stack, node(1, seeds=a.tunnel.bound) as b:
        await b.linked(a)
        host, port = split_address(a.tunnel.bound[0])
        for number in range(3 * MAX_OF_ONE + 2):
            # Three addresses take what each may have, the first of them asks for one more, then a fourth one comes.
            source = f"127.0.0.{2 + number // MAX_OF_ONE if number != 3 * MAX_OF_ONE else 2}"
            await stack.enter_async_context(await trio.open_tcp_stream(host, port, local_address=source))
        await log.until(2)
        assert a.tunnel.statistics().in_progress == MAX_OF_STRANGERS
        assert a.tunnel.statistics().refused == {Refusal.TOO_MANY_OF_ONE: 1, Refusal.TOO_MANY: 1}
        assert set(a.tunnel.links) == {b.id}
        async with node(2, seeds=a.tunnel.bound) as c:  # from the address that b came from
            await c.linked(a)
            assert c.tunnel.seeds()[0].attempts == 1


async def test_a_peer_that_tells_addresses_of_others_has_nobody_ask_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    called = trio.Event()

    def call_back(self: Dialler, peer: bytes, addresses: tuple[str, ...], linked: object) -> None:
        asked.append(addresses)
        called.set()

    monkeypatch.setattr(Dialler, "call_back", call_back)
    told = ("ws://127.0.0.1:8500/v1/agent/leave", "127.0.0.1:8085")
    async with node(0, "127.0.0.1:0") as a:
        async with node(1, seeds=a.tunnel.bound, advertise=told) as b:
            await a.linked(b)
        with trio.fail_after(30):
            await called.wait()
    assert asked == [told[1:]]
