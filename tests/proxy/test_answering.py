"""The port of a program that asks for a service and waits for an answer."""

from proxy.answering import AnsweringPort
from sdk.errors import Status
from sdk.head import ReplyHead, pack_reply_head
from sdk.wire.frame import INITIAL_CREDIT, Open, Reset
from sdk.wire.mux import Mux, MuxStream


class Polite(AnsweringPort):
    established = b"welcome "

    def refusal(self, reset: Reset) -> bytes:
        return f"{Status(reset.status).name}: {reset.detail}".encode()


class Silent(Polite):
    established = b""


def opened(kind: type[AnsweringPort]) -> tuple[AnsweringPort, MuxStream]:
    streams: list[MuxStream] = []

    def on_open(stream: MuxStream, opened: Open) -> None:
        streams.append(stream)

    mux = Mux(on_open=on_open)
    made = kind(mux, name="program", clock=lambda: 0.0)
    mux.attach(made)
    made.open(b"head")
    return made, streams[0]


def said(port: AnsweringPort) -> bytes:
    return b"".join(port.data_to_send())


def test_the_program_is_told_once_that_the_service_took_the_connection() -> None:
    for kind, word in ((Polite, b"welcome "), (Silent, b"")):
        port, stream = opened(kind)
        assert said(port) == b""
        stream.send_head(pack_reply_head(ReplyHead()), b"first")
        stream.write(b"then")
        assert said(port) == word + b"firstthen"
        assert not port.refused


def test_no_credit_is_granted_for_words_of_this_node() -> None:
    port, stream = opened(Polite)
    stream.write(bytes(INITIAL_CREDIT // 2))
    assert len(said(port)) == len(Polite.established) + INITIAL_CREDIT // 2
    said(port)
    assert stream.may_send == INITIAL_CREDIT


def test_a_service_that_was_not_reached_is_told_in_words_and_ends_the_connection() -> None:
    port, stream = opened(Polite)
    stream.reset(Status.NOT_FOUND, "nobody")
    assert said(port) == b"NOT_FOUND: nobody"
    assert port.refused == "nobody"
    assert port.finished_writing
    assert port.wants_nothing
    assert port.reset is None


def test_a_reset_after_the_answer_breaks_the_connection() -> None:
    port, stream = opened(Polite)
    stream.send_head(pack_reply_head(ReplyHead()))
    stream.reset(Status.UNAVAILABLE, "gone")
    assert port.reset is not None
    assert not port.refused


def test_a_program_that_is_turned_away_hears_why_without_a_call() -> None:
    port = Polite(Mux(), name="program", clock=lambda: 0.0)
    port.turn_away(b"go away")
    assert said(port) == b"go away"
    assert port.finished_writing
    assert port.wants_nothing


def test_who_was_told_that_it_is_connected_is_told_nothing_more_in_words() -> None:
    port, stream = opened(Polite)
    port.welcomed()
    stream.send_head(pack_reply_head(ReplyHead()), b"hello")
    assert said(port) == b"hello"
    port, stream = opened(Polite)
    port.welcomed()
    stream.reset(Status.UNAVAILABLE, "gone")
    assert said(port) == b""
    assert port.reset is not None
