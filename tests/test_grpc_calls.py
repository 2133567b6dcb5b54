"""What grpcio's own client and server may rely on, through two nodes, besides that calls are answered: metadata of any
bytes, details of errors, deadlines that the server knows, the end of streams, large messages, compression, pings."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from tests.eavesdrop import GOAWAY, PING, Eavesdropper
from tests.processes import PATIENCE
from tests.twonodes import UNBOUNDED, World

BYTES = bytes(range(256))

PINGS = 4
"""More than a server takes that minds them: gRPC's own hang up at the third. grpcio sends one each second at most."""

EAGER = (
    ("grpc.keepalive_time_ms", 50),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


class Methods(grpc.GenericRpcHandler):
    """What the instance offers: methods on bytes."""

    def __init__(self) -> None:
        self.open = threading.Event()
        """A call waits."""
        self.over = threading.Event()
        """The call that waited is over."""
        self.go_on = threading.Event()
        """What calls wait for that are not cancelled."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.rpartition("/")[2]
        kinds: dict[str, Any] = {
            "Tell": grpc.unary_unary_rpc_method_handler(self.tell),
            "Return": grpc.unary_unary_rpc_method_handler(lambda request, _: request),
            "Gzip": grpc.unary_unary_rpc_method_handler(self.gzip),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "Left": grpc.unary_unary_rpc_method_handler(self.left),
            "Stay": grpc.stream_stream_rpc_method_handler(self.stay),
            "Half": grpc.stream_stream_rpc_method_handler(self.half),
        }
        return kinds.get(name)

    def tell(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """What it was sent comes back before the answer and after it."""
        told = tuple((key, value) for key, value in context.invocation_metadata() if key.startswith("x-"))
        context.send_initial_metadata(told)
        context.set_trailing_metadata(told)
        return request

    def refuse(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("grpc-status-details-bin", BYTES), ("retry-pushback-ms", "-1")))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "line\nand tab\t, 50 % of ü")
        raise AssertionError("abort raises")

    def gzip(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """What it was sent, made small on the way back."""
        context.set_compression(grpc.Compression.Gzip)
        return request

    def left(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """How many seconds it has."""
        return str(context.time_remaining()).encode()

    def stay(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answers one message and waits."""
        context.add_callback(self.over.set)
        yield next(requests)
        self.open.set()
        while not (self.over.is_set() or self.go_on.wait(0.05)):
            pass
        yield b"went on"

    def half(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answers when there will be no more requests."""
        yield str(len(list(requests))).encode()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("world"), stack)


@pytest.fixture(scope="module")
def methods(world: World) -> Methods:
    methods = Methods()
    world.serve_grpc("peer", methods)
    world.until_known("peer")
    return methods


@pytest.fixture
def fresh(methods: Methods) -> Methods:
    for event in (methods.open, methods.over, methods.go_on):
        event.clear()
    return methods


@pytest.fixture
def channel(world: World, methods: Methods) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(world.proxy, options=UNBOUNDED) as channel:
        yield channel


def opened(address: str, options: Any, compression: grpc.Compression | None = None) -> Any:
    return grpc.insecure_channel(address, options, compression)


def method(name: str) -> str:
    return f"/peer.Peer/{name}"


def told(metadata: Any) -> list[tuple[str, str | bytes]]:
    return [(key, value) for key, value in metadata if key.startswith("x-")]


def test_metadata_of_text_and_of_any_bytes_comes_back_in_order_with_what_is_repeated(channel: Any) -> None:
    metadata = (("x-a", "1"), ("x-raw-bin", BYTES), ("x-a", "two words"), ("x-empty-bin", b""), ("x-long", "x" * 4000))
    reply, call = channel.unary_unary(method("Tell")).with_call(b"hello", timeout=PATIENCE, metadata=metadata)
    assert reply == b"hello"
    assert told(call.initial_metadata()) == list(metadata)
    assert told(call.trailing_metadata()) == list(metadata)


def test_an_error_keeps_its_details_and_its_trailers(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method("Refuse"))(b"", timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "line\nand tab\t, 50 % of ü"
    assert {("grpc-status-details-bin", BYTES), ("retry-pushback-ms", "-1")} <= set(caught.value.trailing_metadata())


def test_a_method_that_is_not_there_is_said_to_be_unimplemented_by_the_instance(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method("Nothing"))(b"", timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_server_knows_the_deadline_and_what_has_gone_of_it(channel: Any) -> None:
    left = float(channel.unary_unary(method("Left"))(b"", timeout=20))
    assert 10 < left < 21  # grpcio tells it from two clocks, and may be held up between the looks at them
    assert float(channel.unary_unary(method("Left"))(b"", timeout=7200)) > 7000


def test_a_stream_that_is_cancelled_is_cancelled_at_the_server(channel: Any, fresh: Methods) -> None:
    requests = iter([b"first"])
    call = channel.stream_stream(method("Stay"))(itertools.chain(requests, endless(fresh)), timeout=PATIENCE)
    assert next(call) == b"first"
    assert fresh.open.wait(PATIENCE)
    assert not fresh.over.is_set()
    call.cancel()
    assert fresh.over.wait(PATIENCE)
    fresh.go_on.set()
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert caught.value.code() is grpc.StatusCode.CANCELLED


def endless(methods: Methods) -> Iterator[bytes]:
    """No message, and no end before the test's."""
    methods.go_on.wait(PATIENCE)
    yield from ()


def test_the_end_of_the_requests_arrives_before_the_answer(channel: Any) -> None:
    half = channel.stream_stream(method("Half"))
    for count in (0, 1, 3):
        assert list(half(iter([b"x"] * count), timeout=PATIENCE)) == [str(count).encode()]


def test_a_message_of_64_mib_passes_there_and_back(channel: Any) -> None:
    message = BYTES * (1 << 18)
    assert channel.unary_unary(method("Return"))(message, timeout=PATIENCE) == message


@pytest.mark.parametrize("kind", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["gzip", "deflate"])
def test_what_is_compressed_stays_so(world: World, methods: Methods, kind: grpc.Compression) -> None:
    message = bytes(4 << 20)
    with Eavesdropper(world.host, world.port) as ear, opened(ear.address, UNBOUNDED, kind) as channel:
        assert channel.unary_unary(method("Gzip"))(message, timeout=PATIENCE) == message
    assert ear.octets < len(message) // 10


def test_pings_without_end_do_no_harm(world: World, fresh: Methods) -> None:
    with Eavesdropper(world.host, world.port) as ear, opened(ear.address, EAGER) as channel:
        # While there are no calls.
        assert channel.unary_unary(method("Return"))(b"first", timeout=PATIENCE) == b"first"
        seen = ear.came[PING]
        ear.until(lambda: ear.came[PING] >= seen + PINGS)
        # And while there is one that is silent.
        call = channel.stream_stream(method("Stay"))(itertools.chain([b"here"], endless(fresh)), timeout=PATIENCE)
        assert next(call) == b"here"
        seen = ear.came[PING]
        ear.until(lambda: ear.came[PING] >= seen + PINGS)
        fresh.go_on.set()
        assert list(call) == [b"went on"]
        assert (ear.connections, ear.came[GOAWAY]) == (1, 0)
