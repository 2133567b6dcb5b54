"""HTTP/2's numbers against the `hyperframe` package, and settings that none may have."""

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, SettingsFrame

from sdk.wire import http2
from sdk.wire.http2 import ConnectionFault, ErrorCode, parse_settings_untrusted, unpad_untrusted


def test_frames_are_as_another_implementation_writes_them() -> None:
    settings = {http2.MAX_CONCURRENT_STREAMS: 7, http2.INITIAL_WINDOW_SIZE: 65536}
    assert (
        http2.pack_frame(http2.SETTINGS, 0, 0, http2.pack_settings(settings))
        == SettingsFrame(settings=settings).serialize()
    )
    data = DataFrame(5, b"x" * 70_000, flags=["END_STREAM"]).serialize()
    assert http2.pack_frame(http2.DATA, http2.END_STREAM, 5, b"x" * 70_000) == data
    away = GoAwayFrame(last_stream_id=3, error_code=11, additional_data=b"bye").serialize()
    assert http2.pack_frame(http2.GOAWAY, 0, 0, b"\0\0\0\3\0\0\0\x0bbye") == away


def test_settings_are_read_as_they_are_written_the_last_of_each() -> None:
    payload = http2.pack_settings({1: 0, 3: 5, 99: 1}) + http2.pack_settings({3: 6})
    assert parse_settings_untrusted(payload) == {1: 0, 3: 6, 99: 1}


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"\0\4\0\0\1", ErrorCode.FRAME_SIZE_ERROR),
        (http2.pack_settings({http2.ENABLE_PUSH: 2}), ErrorCode.PROTOCOL_ERROR),
        (http2.pack_settings({http2.INITIAL_WINDOW_SIZE: 1 << 31}), ErrorCode.FLOW_CONTROL_ERROR),
        (http2.pack_settings({http2.MAX_FRAME_SIZE: 16383}), ErrorCode.PROTOCOL_ERROR),
        (http2.pack_settings({http2.MAX_FRAME_SIZE: 1 << 24}), ErrorCode.PROTOCOL_ERROR),
    ],
    ids=["five bytes", "push", "window", "frame too small", "frame too large"],
)
def test_settings_that_none_may_have_end_the_connection_rfc9113_6_5(payload: bytes, error: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as raised:
        parse_settings_untrusted(payload)
    assert raised.value.error == error


def test_padding_is_taken_off_and_cannot_be_longer_than_the_frame_rfc9113_6_1() -> None:
    assert unpad_untrusted(b"\2body\0\0") == b"body"
    assert unpad_untrusted(b"\0") == b""
    for payload in (b"", b"\1", b"\5body"):
        with pytest.raises(ConnectionFault):
            unpad_untrusted(payload)


def test_a_frame_is_shown_to_people_in_one_line() -> None:
    assert http2.describe(http2.HEADERS, http2.END_STREAM, 3, b"12") == "HEADERS 3 END_STREAM 2 bytes"
    assert http2.describe(http2.PING, http2.ACK, 0, b"12345678") == "PING 0 ACK 8 bytes"
    assert http2.describe(77, 1, 0, b"") == "type 77 0 0 bytes"
