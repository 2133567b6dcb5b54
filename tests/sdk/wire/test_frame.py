"""The frame and its payloads: what is packed can be read, and whatever else comes is refused in one way only."""

from collections.abc import Callable
from contextlib import suppress

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdk.errors import RemoteProtocolError, Status
from sdk.wire import frame
from sdk.wire.frame import ID_SIZE, Fate, Hello, Open, Reset

ids = st.binary(min_size=ID_SIZE, max_size=ID_SIZE)
numbers = st.integers(0, 0xFFFFFFFF)


@given(hops=st.integers(0, 3), path=st.lists(ids, max_size=3), ms=numbers, head=st.binary(), body=st.binary())
def test_an_open_is_read_as_it_was_packed(hops: int, path: list[bytes], ms: int, head: bytes, body: bytes) -> None:
    opened = Open(hops, b"".join(path), ms, head, body)
    assert frame.split_open_untrusted(frame.pack_open(*opened)) == opened


@given(
    opened=st.tuples(st.integers(0, 3), st.lists(ids, max_size=3), numbers, st.binary()), size=st.integers(min_value=0)
)
def test_an_open_that_is_cut_off_before_its_body_is_refused(
    opened: tuple[int, list[bytes], int, bytes], size: int
) -> None:
    hops, path, ms, head = opened
    payload = frame.pack_open(hops, b"".join(path), ms, head, b"")
    with pytest.raises(RemoteProtocolError):
        frame.split_open_untrusted(payload[: size % len(payload)])


@pytest.mark.parametrize(("hops", "nodes"), [(4, 1), (255, 0), (3, 4)])
def test_an_open_that_wants_more_than_three_hops_is_refused(hops: int, nodes: int) -> None:
    with pytest.raises(RemoteProtocolError, match="too long"):
        frame.split_open_untrusted(frame.pack_open(hops, bytes(ID_SIZE * nodes), 0, b"head", b""))


def test_an_open_of_the_longest_kind_still_fits_a_frame_when_the_first_node_has_written_a_path_into_it() -> None:
    head = b"h" * frame.MAX_OPEN
    assert len(frame.pack_open(3, bytes(ID_SIZE * frame.MAX_HOPS), 0, head, b"")) <= frame.MAX_PAYLOAD


@given(head=st.binary(), body=st.binary())
def test_a_headed_payload_is_read_as_it_was_packed_and_its_body_counts(head: bytes, body: bytes) -> None:
    payload = frame.pack_headed(head, body)
    assert frame.split_headed_untrusted(payload) == (head, body)
    assert frame.body_size_untrusted(frame.HEAD, 0, payload) == len(body)
    assert frame.body_size_untrusted(frame.DATA, frame.TRAILERS, payload) == len(body)


@given(payload=st.binary(max_size=300), kind=st.sampled_from((frame.HEAD, frame.DATA)), flags=st.integers(0, 255))
@example(payload=b"\x00\x05abc", kind=frame.HEAD, flags=0)
def test_a_body_counts_for_as_much_as_the_reader_will_find(payload: bytes, kind: int, flags: int) -> None:
    if kind == frame.DATA and not flags & frame.TRAILERS:
        assert frame.body_size_untrusted(kind, flags, payload) == len(payload)
        return
    try:
        size = len(frame.split_headed_untrusted(payload)[1])
    except RemoteProtocolError:
        with pytest.raises(RemoteProtocolError):
            frame.body_size_untrusted(kind, flags, payload)
    else:
        assert frame.body_size_untrusted(kind, flags, payload) == size


@given(
    status=st.integers(1, 16), fate=st.sampled_from(Fate), detail=st.text(max_size=1000),
    edge=st.sampled_from((b"", bytes(2 * ID_SIZE))),
)  # fmt: skip
def test_a_reset_is_read_as_it_was_packed(status: int, fate: Fate, detail: str, edge: bytes) -> None:
    reset = Reset(status, fate, detail, edge)
    assert frame.parse_reset_untrusted(frame.pack_reset(reset)) == reset


@pytest.mark.parametrize("fate", [2, -1, 1 << 40])
def test_a_fate_that_is_not_known_is_the_worse_one(fate: int) -> None:
    assert frame.parse_reset_untrusted(msgpack.packb((14, fate, "", b""))).fate == Fate.MAY_HAVE_RUN


@pytest.mark.parametrize("status", [0, 17, -3, 1 << 40])
def test_a_reset_is_never_read_as_success(status: int) -> None:
    assert frame.parse_reset_untrusted(msgpack.packb((status, 0, "", b""))).status == Status.UNKNOWN


def test_the_detail_of_a_reset_is_cut_to_a_length_a_person_reads() -> None:
    assert len(frame.parse_reset_untrusted(frame.pack_reset(Reset(14, 0, "x" * 5000))).detail) == 1000
    assert len(frame.parse_reset_untrusted(msgpack.packb((14, 0, "x" * 5000, b""))).detail) == 1000


def test_a_detail_that_quotes_what_is_no_text_can_still_be_sent_and_read() -> None:
    reset = frame.parse_reset_untrusted(frame.pack_reset(Reset(13, 1, "no file \udcff.txt")))
    assert reset.detail == "no file ?.txt"


@given(version=st.integers(0, 255), role=st.text(), max_streams=st.integers(1, 1 << 31))
def test_a_hello_is_read_as_it_was_packed(version: int, role: str, max_streams: int) -> None:
    hello = Hello(version, role, max_streams)
    assert frame.parse_hello_untrusted(frame.pack_hello(hello)) == hello


def test_what_newer_peers_add_to_a_hello_or_a_reset_is_skipped() -> None:
    assert frame.parse_hello_untrusted(msgpack.packb((1, "node", 5, b"", {"new": 1}))) == Hello(1, "node", 5)
    assert frame.parse_reset_untrusted(msgpack.packb((14, 1, "gone", b"", 7))) == Reset(14, 1, "gone")


@pytest.mark.parametrize(
    "hello",
    [(1, "node", 0), (1, "node", True), ("1", "node", 5), (1, b"node", 5), (1, "node"), (1, "node", 5, "token"), 7],
)
def test_a_hello_with_a_field_that_makes_no_sense_is_refused(hello: object) -> None:
    with pytest.raises(RemoteProtocolError, match="HELLO"):
        frame.parse_hello_untrusted(msgpack.packb(hello))


@pytest.mark.parametrize("edge", [b"x", bytes(ID_SIZE), "text", None])
def test_a_reset_whose_edge_is_no_pair_of_ids_is_refused(edge: object) -> None:
    with pytest.raises(RemoteProtocolError, match="RESET"):
        frame.parse_reset_untrusted(msgpack.packb((14, 1, "gone", edge)))


@given(number=numbers)
def test_a_number_is_read_as_it_was_packed(number: int) -> None:
    assert frame.parse_u32_untrusted(frame.pack_u32(number)) == number


anything = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text() | st.binary() | st.floats(),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ).map(msgpack.packb),
)


@pytest.mark.parametrize(
    "parse",
    [
        frame.split_open_untrusted,
        frame.split_headed_untrusted,
        frame.parse_u32_untrusted,
        frame.parse_reset_untrusted,
        frame.parse_hello_untrusted,
        lambda payload: frame.body_size_untrusted(frame.HEAD, 0, payload),
    ],
    ids=["open", "headed", "u32", "reset", "hello", "body_size"],
)
@given(payload=anything)
@example(payload=b"\x91" * 5000)
@example(payload=b"\xdd\xff\xff\xff\xff")
@example(payload=b"\x00\x00")
def test_whatever_comes_only_the_documented_error_is_raised(parse: Callable[[bytes], object], payload: bytes) -> None:
    with suppress(RemoteProtocolError):
        parse(payload)


def test_a_frame_describes_itself_to_the_reader_of_a_log() -> None:
    assert frame.describe(frame.DATA, frame.END | frame.TRAILERS, 3, b"x" * 12) == "DATA 3 END TRAILERS 12 bytes"
    assert frame.describe(200, 0, 0, b"") == "type 200 0 0 bytes"


def test_the_preface_is_no_beginning_of_any_protocol_met_on_the_same_port() -> None:
    others = (b"GET ", b"POST", b"CONN", b"PRI * HTTP/2.0", b"\x16\x03", b"\x05", b"\x04")
    assert not any(frame.PREFACE[:1] == other[:1] for other in others)


def test_a_hello_shows_its_token_to_the_peer_and_to_nobody_else() -> None:
    hello = Hello(1, "client", 5, b"\xffsecret")
    assert frame.parse_hello_untrusted(frame.pack_hello(hello)) == hello
    assert "secret" not in repr(hello)
    assert str(hello) == "<Hello of version 1 from a client, 5 streams, with a token>"
    # A peer that knows no tokens reads what it always did.
    assert msgpack.unpackb(frame.pack_hello(Hello(1, "client", 5))) == [1, "client", 5]
