"""Header compression: the vectors of RFC 7541, the `hpack` package at the other end, and what attackers send."""

import hpack
import pytest
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import RemoteProtocolError
from sdk.wire.hpack import (
    _STATIC,
    MAX_FIELDS,
    MAX_LIST,
    MAX_MEMO,
    NEVER_INDEXED,
    TABLE_SIZE,
    Decoder,
    Encoder,
    Headers,
    HeadersTooLong,
)

REQUESTS = (
    (":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"),
    (":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com", "cache-control", "no-cache"),
    (":method", "GET", ":scheme", "https", ":path", "/index.html", ":authority", "www.example.com",
     "custom-key", "custom-value"),
)  # fmt: skip
RESPONSES = (
    (":status", "302", "cache-control", "private", "date", "Mon, 21 Oct 2013 20:13:21 GMT",
     "location", "https://www.example.com"),
    (":status", "307", "cache-control", "private", "date", "Mon, 21 Oct 2013 20:13:21 GMT",
     "location", "https://www.example.com"),
    (":status", "200", "cache-control", "private", "date", "Mon, 21 Oct 2013 20:13:22 GMT",
     "location", "https://www.example.com", "content-encoding", "gzip",
     "set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
)  # fmt: skip

C3 = ("828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
      "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565")  # fmt: skip
C4 = (
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
)
C5 = (
    (
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e17"
        "68747470733a2f2f7777772e6578616d706c652e636f6d"
    ),
    "4803333037c1c0bf",
    (
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a"
        "584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31"
    ),
)
C6 = (
    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
    "4883640effc1c0bf",
    (
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f36"
        "72c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
    ),
)

NAMES = st.sampled_from([":path", "te", "x-a", "x-b", "cookie", "date", "authorization", "", "grpc-timeout"])
VALUES = st.one_of(
    st.sampled_from(["", "a", "b" * 30, "\xe9\xff"]), st.text(st.characters(max_codepoint=255), max_size=50)
)
LISTS = st.lists(st.tuples(NAMES, VALUES), max_size=12).map(
    lambda pairs: tuple(part for pair in pairs for part in pair)
)


def pairs(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(headers[at].encode("latin-1"), headers[at + 1].encode("latin-1")) for at in range(0, len(headers), 2)]


def other_decoder() -> hpack.Decoder:
    return hpack.Decoder(max_header_list_size=1 << 20)


def test_the_static_table_is_that_of_appendix_a() -> None:
    assert [(name.encode(), value.encode()) for name, value in _STATIC] == list(HeaderTable.STATIC_TABLE)


@pytest.mark.parametrize(
    ("block", "headers"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", ("custom-key", "custom-header")),
        ("040c2f73616d706c652f70617468", (":path", "/sample/path")),
        ("100870617373776f726406736563726574", ("password", "secret")),
        ("82", (":method", "GET")),
    ],
    ids=["C.2.1", "C.2.2", "C.2.3", "C.2.4"],
)
def test_each_representation_is_read_as_in_appendix_c2(block: str, headers: Headers) -> None:
    assert Decoder().decode_untrusted(bytes.fromhex(block)) == headers


@pytest.mark.parametrize(("blocks", "lists"), [(C3, REQUESTS), (C4, REQUESTS)], ids=["C.3", "C.4"])
def test_requests_are_read_as_in_appendix_c(blocks: tuple[str, ...], lists: tuple[Headers, ...]) -> None:
    decoder = Decoder()
    assert [decoder.decode_untrusted(bytes.fromhex(block)) for block in blocks] == list(lists)


@pytest.mark.parametrize("blocks", [C5, C6], ids=["C.5", "C.6"])
def test_responses_are_read_as_in_appendix_c_through_evictions(blocks: tuple[str, ...]) -> None:
    """The appendix has a table of 256 bytes, which a size update brings about here."""
    decoder = Decoder()
    first = bytes.fromhex("3fe101" + blocks[0])
    read = [decoder.decode_untrusted(block) for block in (first, *map(bytes.fromhex, blocks[1:]))]
    assert read == list(RESPONSES)


@given(st.lists(LISTS, max_size=12))
def test_whatever_we_write_the_hpack_package_reads(lists: list[Headers]) -> None:
    encoder, decoder = Encoder(), other_decoder()
    for headers in lists:
        read = decoder.decode(encoder.encode(headers), raw=True)
        assert [(name, value) for name, value in read] == pairs(headers)


@given(st.lists(st.tuples(LISTS, st.booleans()), max_size=12))
def test_whatever_the_hpack_package_writes_we_read(lists: list[tuple[Headers, bool]]) -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    for headers, huffman in lists:
        assert decoder.decode_untrusted(encoder.encode(pairs(headers), huffman=huffman)) == headers


@given(st.lists(st.one_of(LISTS, st.integers(0, 5000)), max_size=20))
def test_a_table_whose_size_the_peer_changes_stays_the_same_at_both_ends(steps: list[Headers | int]) -> None:
    encoder, decoder, other = Encoder(), Decoder(), other_decoder()
    for step in steps:
        if isinstance(step, int):
            encoder.limit_table(step)
            other.max_allowed_table_size = max(step, other.max_allowed_table_size)
        else:
            block = encoder.encode(step)
            assert decoder.decode_untrusted(block) == step
            assert [(name, value) for name, value in other.decode(block, raw=True)] == pairs(step)


def test_the_smallest_and_the_last_size_of_the_table_are_told_rfc7541_4_2() -> None:
    encoder = Encoder()
    for size in (100, 0, 200):
        encoder.limit_table(size)
    assert encoder.encode(()) == b"\x20\x3f\xa9\x01"
    assert encoder.encode(()) == b""


def test_a_size_that_is_larger_than_ours_changes_nothing() -> None:
    encoder = Encoder()
    encoder.limit_table(1 << 20)
    assert encoder.encode(()) == b""


# The memo, and what keeps the table at rest.


def test_a_field_enters_the_table_at_its_second_appearance_and_is_one_byte_from_then_on() -> None:
    encoder = Encoder()
    blocks = [encoder.encode(("x-tenant", "blue")) for _ in range(4)]
    assert [block[0] & 0xC0 for block in blocks] == [0, 0x40, 0x80, 0x80]
    assert len(blocks[2]) == 1


def test_an_identifier_that_differs_each_time_never_empties_the_memo() -> None:
    encoder = Encoder()
    for _ in range(3):
        encoder.encode((":path", "/a"))
    encoder.remember("key", b"block", encoder.changes)
    for number in range(1000):
        encoder.encode((":path", "/a", "x-call", str(number)))
    assert encoder.memo == {"key": b"block"}


def test_only_blocks_that_would_be_written_again_are_remembered() -> None:
    encoder = Encoder()
    for kept in (False, False, True, True):
        since = encoder.changes
        encoder.remember("list", encoder.encode(("x-tenant", "blue")), since)
        assert ("list" in encoder.memo) is kept


def test_a_change_of_the_table_empties_the_encoders_memo() -> None:
    encoder = Encoder()
    encoder.remember("list", encoder.encode((":method", "GET")), encoder.changes)
    for _ in range(2):
        assert encoder.memo
        encoder.encode(("x-tenant", "blue"))
    assert not encoder.memo


def test_a_block_that_names_the_table_is_remembered_until_another_one_changes_that() -> None:
    decoder = Decoder()
    decoder.decode_untrusted(b"\x40\x01a\x01b")
    newest = b"\xbe"
    decoder.remember(newest, decoder.decode_untrusted(newest))
    assert decoder.recall(newest, tuple) == ("a", "b")
    decoder.decode_untrusted(b"\x40\x01c\x01d")
    assert decoder.recall(newest, tuple) is None
    assert decoder.decode_untrusted(newest) == ("c", "d")


def test_a_block_that_names_no_entry_of_the_table_is_remembered_with_what_it_puts_there() -> None:
    decoder = Decoder()
    putting, resizing = b"\x40\x01a\x01b\x82", b"\x3f\xe1\x1f\x82"
    for block in (putting, resizing):
        decoder.remember(block, decoder.decode_untrusted(block))
    decoder.decode_untrusted(b"\x40\x01c\x01d")
    assert decoder.recall(putting, tuple) == ("a", "b", ":method", "GET")
    assert decoder.decode_untrusted(b"\xbe\xbf") == ("a", "b", "c", "d")
    assert decoder.recall(resizing, tuple) is None


def test_what_is_remembered_of_another_kind_is_as_if_it_were_not() -> None:
    decoder = Decoder()
    block = b"\x40\x01a\x01b"
    decoder.remember(block, decoder.decode_untrusted(block))
    changes = decoder.changes
    assert decoder.recall(block, bytes) is None
    assert decoder.changes == changes


class _Unremembering(hpack.Encoder):
    """Puts fields into the table again that are there already, now and then."""

    def add(self, to_add: tuple[bytes, bytes], sensitive: bool, huffman: bool = False) -> bytes:
        if sum(to_add[1]) % 3 == 0:
            self.header_table.dynamic_entries.appendleft(to_add)
            self.header_table._current_size += sum(map(len, to_add)) + 32
            self.header_table._shrink()
            parts = ((bytes([len(text)]) + text) for text in to_add)
            return b"\x40" + b"".join(parts)
        made: bytes = super().add(to_add, sensitive, huffman)
        return made


@given(st.lists(st.sampled_from((*REQUESTS, *RESPONSES)), max_size=40), st.sampled_from((100, 200, TABLE_SIZE)))
def test_recalling_blocks_changes_nothing_in_what_they_say(lists: list[Headers], size: int) -> None:
    encoder, decoder = _Unremembering(), Decoder()
    encoder.header_table_size = size
    for headers in lists:
        block = encoder.encode(list(zip(headers[::2], headers[1::2], strict=True)))
        said = decoder.recall(block, tuple)
        if said is None:
            said = decoder.decode_untrusted(block)
            decoder.remember(block, said)
        assert said == headers


def test_memos_are_bounded() -> None:
    encoder, decoder = Encoder(), Decoder()
    for number in range(3 * MAX_MEMO):
        encoder.remember(number, b"", encoder.changes)
        block = b"\x00\x01a\x84" + number.to_bytes(4, "big")
        decoder.decode_untrusted(b"\x00\x01a\x04" + number.to_bytes(4, "big"))
        decoder.remember(block, "apart")
        decoder.decode_untrusted(b"\x40\x01a\x01b")
        decoder.decode_untrusted(b"\xbe")
        decoder.remember(block, "leaned")
    decoder.remember(b"x" * 5000, "long")
    assert 0 < len(encoder.memo) <= MAX_MEMO
    assert 0 < len(decoder._memo) <= MAX_MEMO
    assert 0 < len(decoder._apart) <= MAX_MEMO
    assert decoder.recall(b"x" * 5000, str) is None


def test_strings_that_are_remembered_are_bounded() -> None:
    decoder, encoder = Decoder(), hpack.Encoder()
    for number in range(3 * MAX_MEMO):
        [name, value] = decoder.decode_untrusted(encoder.encode([("x-number", str(number))]))
        assert (name, value) == ("x-number", str(number))
    decoder.decode_untrusted(encoder.encode([("x-long", "x" * 1000)]))
    assert 0 < len(decoder._strings) <= MAX_MEMO
    assert max(map(len, decoder._strings)) < 20


@pytest.mark.parametrize("name", sorted(NEVER_INDEXED))
def test_secrets_are_never_indexed_rfc7541_7_1_3(name: str) -> None:
    encoder = Encoder()
    for _ in range(3):
        assert encoder.encode((name, "secret"))[0] & 0xF0 == 0x10


def test_what_differs_from_call_to_call_stays_out_of_the_table() -> None:
    encoder = Encoder()
    for _ in range(3):
        assert encoder.encode(("grpc-timeout", "5S"))[0] & 0xF0 == 0
        assert encoder.encode(("x-large", "x" * 2000))[0] & 0xF0 == 0


def test_what_latin1_has_no_letters_for_goes_out_as_utf8() -> None:
    [(_, value)] = other_decoder().decode(Encoder().encode(("x-name", "Zoë 東")), raw=True)
    assert value == "Zoë 東".encode()
    [(_, value)] = other_decoder().decode(Encoder().encode(("x-name", "\ud800")), raw=True)
    assert value == b"?"


def test_a_secret_that_came_from_a_table_goes_into_none_rfc7541_7_1_3() -> None:
    decoder = Decoder()
    decoder.decode_untrusted(b"\x40\x09x-api-key\x03abc")
    headers = decoder.decode_untrusted(b"\xbe")
    assert headers == ("x-api-key", "abc")
    assert Encoder().encode(headers) == b"\x10\x09x-api-key\x03abc"


# What attackers send.


def test_a_bomb_of_references_to_one_large_entry_is_read_without_being_unpacked() -> None:
    """CVE-2016-6581: 4 KB in the table, named by every byte of a block, would be 240 MB."""
    decoder = Decoder()
    decoder.decode_untrusted(b"\x40\x01a\x7f\xd1\x1e" + b"v" * 4048)
    with pytest.raises(HeadersTooLong):
        decoder.decode_untrusted(b"\xbe" * 60_000)
    assert decoder.decode_untrusted(b"\xbe") == ("a", "v" * 4048)


def test_a_list_is_taken_up_to_its_limits_and_not_beyond() -> None:
    field = ("x", "v" * (MAX_LIST // 16 - 33))
    assert len(Decoder().decode_untrusted(Encoder().encode(field * 16))) == 32
    with pytest.raises(HeadersTooLong):
        Decoder().decode_untrusted(Encoder().encode((*field * 16, "", "")))
    assert len(Decoder().decode_untrusted(b"\x82" * MAX_FIELDS)) == 2 * MAX_FIELDS
    with pytest.raises(HeadersTooLong):
        Decoder().decode_untrusted(b"\x82" * (MAX_FIELDS + 1))


def test_a_list_that_is_too_long_leaves_the_table_as_the_peer_has_it() -> None:
    decoder = Decoder()
    with pytest.raises(HeadersTooLong):
        decoder.decode_untrusted(b"\x82" * 1000 + b"\x40\x01a\x01b")
    assert decoder.decode_untrusted(b"\xbe") == ("a", "b")


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"\x80", "entry 0"),
        (b"\xbe", "no such entry"),
        (b"\x7f\x00\x00", "no such entry"),
        (b"\xff", "ends within a field"),
        (b"\x40", "ends within a field"),
        (b"\x40\x01a", "ends within a field"),
        (b"\x40\x05ab", "ends within a string"),
        (b"\x00\x01a\x05b", "ends within a string"),
        (b"\xff\x80\x80\x80\x80\x00", "more than four bytes"),
        (b"\x00\x7f\xff\xff\xff\x7f", "ends within a string"),
        (b"\x3f\xe2\x1f", "over the limit"),
        (b"\x82\x20", "within a header block"),
        (b"\x00\x81\x00\x00", "not padded"),
    ],
)
def test_what_is_no_header_block_is_refused(block: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason) as raised:
        Decoder().decode_untrusted(block)
    assert not isinstance(raised.value, HeadersTooLong)


def test_the_table_never_holds_more_than_its_size() -> None:
    decoder = Decoder()
    for number in range(500):
        decoder.decode_untrusted(b"\x40\x04%04d\x7f\x81\x01" % number + b"v" * 256)
    assert decoder._size <= TABLE_SIZE
    assert len(decoder._fields) == TABLE_SIZE // (4 + 256 + 32)
