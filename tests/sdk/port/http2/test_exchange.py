"""What is known of a stream at its beginning."""

from sdk.port.http2.exchange import Exchange
from sdk.wire.frame import INITIAL_CREDIT


def test_a_stream_begins_with_the_windows_of_both_sides_and_nothing_said() -> None:
    exchange = Exchange(100, grpc=True)
    assert (exchange.window, exchange.room, exchange.expected) == (100, INITIAL_CREDIT, -1)
    assert exchange.wanted
    assert not any((exchange.began, exchange.sent_end, exchange.got_end, exchange.pending, exchange.call))


def test_ten_thousand_of_them_on_a_connection_cost_a_few_megabytes() -> None:
    assert not hasattr(Exchange(0, grpc=False), "__dict__")
    assert Exchange(0, grpc=False).__sizeof__() < 256
