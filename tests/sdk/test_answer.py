import pytest
import trio

from sdk.errors import BadRequest, Conflict, LocalProtocolError
from sdk.head import parse_reply_head_untrusted, parse_trailers_untrusted
from sdk.wire.frame import Fate, Reset
from sdk.wire.message import encode_message
from tests.sdk.ends import Ends


def said(ends: Ends) -> list[str]:
    """What the server said, without sizes."""
    ends.pair.pump()
    lines = [line.removeprefix("server >> ") for line in ends.pair.transcript if line.startswith("server >> ")]
    return [line.rpartition(" ")[0].rpartition(" ")[0] for line in lines if not line.startswith(("HELLO", "CREDIT"))]


async def test_a_small_answer_is_one_frame() -> None:
    ends = Ends(encode_message(b"1"), end=True)
    assert await ends.server.first_message() == 1
    await ends.server.reply({"a": 1})
    assert said(ends) == ["HEAD 1 END"]
    assert ends.pair.server.alive == ends.pair.client.alive == []
    assert await ends.client.only_message() == {"a": 1}


async def test_a_large_answer_is_a_head_data_and_trailers() -> None:
    ends = Ends(end=True)
    await ends.server.reply("x" * 60_000 + "y")
    large = Ends(end=True)
    async with large.flowing(), trio.open_nursery() as nursery:
        nursery.start_soon(large.server.reply, "x" * 100_000)
        assert await large.client.only_message() == "x" * 100_000
    assert said(ends) == ["HEAD 1 END"]
    assert said(large)[0] == "HEAD 1"
    assert said(large)[-1] == "DATA 1 END TRAILERS"


async def test_an_answer_in_pieces_says_how_it_went_at_the_end() -> None:
    ends = Ends(end=True)
    await ends.server.send(1)
    await ends.server.send(2)
    await ends.server.end()
    assert said(ends) == ["HEAD 1", "DATA 1", "DATA 1", "DATA 1 END TRAILERS"]
    assert [message async for message in ends.client] == [1, 2]


async def test_an_answer_without_a_message_is_one_frame() -> None:
    ends = Ends(end=True)
    await ends.server.end()
    assert said(ends) == ["HEAD 1 END"]
    assert [message async for message in ends.client] == []


async def test_an_error_is_in_the_head_or_in_the_trailers() -> None:
    early, late = Ends(end=True), Ends(end=True)
    early.server.fail(Conflict("no"))
    await late.server.send(1)
    late.server.fail(Conflict("no"))
    assert said(early) == ["HEAD 1 END"]
    assert said(late)[-1] == "DATA 1 END TRAILERS"
    head, trailers = early.client._stream.head, late.client._stream.trailers
    assert head is not None
    assert trailers is not None
    assert (
        parse_reply_head_untrusted(head).message
        == parse_trailers_untrusted(trailers).message
        == Conflict("no").to_json()
    )


async def test_a_request_that_goes_on_is_stopped_with_the_answer() -> None:
    ends = Ends(encode_message(b"1"))
    await ends.server.reply(1)
    ends.server.finish()
    assert said(ends) == ["HEAD 1 END", "STOP 1"]
    assert ends.pair.server.alive == []


async def test_a_reset_cancels_the_handlers_scope_and_nothing_is_answered() -> None:
    ends = Ends(encode_message(b"1"), end=True)
    ends.client.close()
    ends.pair.pump()
    assert ends.server.scope.cancel_called
    assert ends.server.stopped
    ends.server.expire("too late")
    ends.server.finish()
    assert said(ends) == []


async def test_a_deadline_is_answered_with_a_reset() -> None:
    ends = Ends(encode_message(b"1"), end=True)
    ends.server.expire("greeter Greeter.Chat did not answer before the deadline")
    ends.pair.pump()
    reset = ends.client._stream.reset_by_peer
    assert reset == Reset(4, Fate.MAY_HAVE_RUN, "greeter Greeter.Chat did not answer before the deadline")


async def test_a_missing_request_is_none_or_where_a_type_is_wanted_a_bad_request() -> None:
    assert await Ends(end=True).server.first_message() is None
    with pytest.raises(BadRequest, match=r"greeter Greeter\.Chat: the request is missing"):
        await Ends(end=True, convert=lambda data: data).server.first_message()


async def test_metadata_goes_ahead_of_an_answer_once() -> None:
    ends = Ends(end=True)
    ends.server.begin(("x-first", "1"))
    with pytest.raises(LocalProtocolError, match="has begun"):
        ends.server.begin(())
    await ends.server.reply(5)
    assert said(ends) == ["HEAD 1", "DATA 1", "DATA 1 END TRAILERS"]
    assert ends.client._stream.head is not None
    assert parse_reply_head_untrusted(ends.client._stream.head).metadata == ("x-first", "1")
    assert await ends.client.only_message() == 5


async def test_metadata_goes_behind_every_kind_of_answer() -> None:
    async def reply(ends: Ends) -> None:
        await ends.server.reply(5)

    async def end(ends: Ends) -> None:
        await ends.server.end()

    async def send(ends: Ends) -> None:
        await ends.server.send(5)
        await ends.server.end()

    async def fail(ends: Ends) -> None:
        ends.server.fail(Conflict("no"))

    async def fail_late(ends: Ends) -> None:
        await ends.server.send(5)
        await fail(ends)

    for answer in (reply, end, send, fail, fail_late):
        ends = Ends(end=True)
        ends.server.trailing = ("x-last", "1")
        await answer(ends)
        said(ends)
        stream = ends.client._stream
        if stream.trailers is not None:
            assert parse_trailers_untrusted(stream.trailers).metadata == ("x-last", "1")
        else:
            assert stream.head is not None
            assert parse_reply_head_untrusted(stream.head).trailers == ("x-last", "1")
