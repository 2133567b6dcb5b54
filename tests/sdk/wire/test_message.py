import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import RemoteProtocolError, TooManyRequests
from sdk.wire.message import MAX_MESSAGE, MessageReader, encode_message


def read_all(reader: MessageReader) -> list[bytes]:
    messages = []
    while (message := reader.next_untrusted()) is not None:
        messages.append(message)
    return messages


def test_a_message_has_the_prefix_that_grpc_gives_it() -> None:
    assert encode_message(b"abc") == b"\x00\x00\x00\x00\x03abc"


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_messages_come_out_as_they_went_in_however_they_were_cut(messages: list[bytes], data: st.DataObject) -> None:
    body = b"".join(map(encode_message, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=10)))
    reader, received = MessageReader(), []
    for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True):
        if stop > start:
            reader.feed(body[start:stop])
        received += read_all(reader)
    assert received == messages
    assert reader.pending == 0


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6))
def test_whatever_comes_only_documented_errors_come_out(pieces: list[bytes]) -> None:
    reader = MessageReader()
    try:
        for piece in pieces:
            reader.feed(piece)
            read_all(reader)
    except (RemoteProtocolError, TooManyRequests):
        pass


def test_a_message_that_was_cut_off_is_seen_as_pending() -> None:
    reader = MessageReader()
    reader.feed(encode_message(b"whole") + encode_message(b"half")[:-2])
    assert read_all(reader) == [b"whole"]
    assert reader.pending == 7


def test_a_compressed_message_is_malformed() -> None:
    reader = MessageReader()
    reader.feed(b"\x01\x00\x00\x00\x01x")
    with pytest.raises(RemoteProtocolError, match="compressed"):
        reader.next_untrusted()


def test_a_length_that_was_made_up_is_refused_before_anything_is_stored() -> None:
    reader = MessageReader()
    reader.feed(b"\x00" + (MAX_MESSAGE + 1).to_bytes(4, "big"))
    with pytest.raises(TooManyRequests, match=str(MAX_MESSAGE)):
        reader.next_untrusted()


def test_a_message_that_no_reader_takes_is_not_sent() -> None:
    with pytest.raises(TooManyRequests, match=str(MAX_MESSAGE)):
        encode_message(bytes(MAX_MESSAGE + 1))
