from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from sdk import errors
from sdk.errors import MicroError, RemoteProtocolError, Status
from sdk.head import ReplyHead, Trailers, pack_reply_head, pack_trailers
from sdk.wire.frame import Fate
from sdk.wire.message import encode_message
from tests.sdk.ends import Ends


def answered(status: int = 0, message: str = "", body: bytes = b"", content_type: str = "") -> Ends:
    ends = Ends(end=True)
    head = pack_reply_head(ReplyHead(content_type, (), status, message))
    ends.server._stream.send_head(head, body, end=True)
    ends.pair.pump()
    return ends


async def test_an_answer_without_a_content_type_is_in_that_of_the_request() -> None:
    assert await answered(body=encode_message(b'{"a":1}')).client.only_message() == {"a": 1}
    assert await answered(
        body=encode_message(b"\x81\xa1a\x01"), content_type="application/msgpack"
    ).client.receive() == {"a": 1}


async def test_of_an_answer_that_cannot_be_read_it_is_said_that_it_is_the_answer() -> None:
    with pytest.raises(RemoteProtocolError, match="the answer cannot be read: a message is not application/json: "):
        await answered(body=encode_message(b"{"), content_type="application/grpc+json").client.only_message()


@pytest.mark.parametrize("status", [each for each in Status if each])
async def test_every_status_is_raised_as_its_own_error(status: Status) -> None:
    with pytest.raises(MicroError, match="what happened") as caught:
        await answered(status, "what happened").client.only_message()
    assert type(caught.value) in (MicroError, errors._BY_STATUS.get(status))


async def test_an_error_in_the_trailers_comes_after_the_messages() -> None:
    ends = Ends(end=True)
    ends.server._stream.send_head(pack_reply_head(ReplyHead()), encode_message(b"1"))
    ends.server._stream.end(pack_trailers(Trailers(Status.NOT_FOUND, "gone")))
    ends.pair.pump()
    assert await ends.client.receive() == 1
    for _ in range(2):
        with pytest.raises(errors.NotFound, match="gone"):
            await ends.client.receive()


@pytest.mark.parametrize(("fate", "may_have_run"), [(Fate.NOT_REACHED, False), (Fate.MAY_HAVE_RUN, True)])
async def test_a_reset_says_whether_the_call_may_have_run(fate: Fate, may_have_run: bool) -> None:
    ends = Ends(end=True)
    ends.server._stream.reset(Status.UNAVAILABLE, "node b is gone", fate)
    ends.pair.pump()
    with pytest.raises(errors.Unavailable, match="node b is gone") as caught:
        await ends.client.only_message()
    assert caught.value.may_have_run is may_have_run


async def test_messages_that_came_before_a_reset_can_still_be_received() -> None:
    ends = Ends(end=True)
    await ends.server.send(1)
    ends.server._stream.reset(Status.UNAVAILABLE, "gone")
    ends.pair.pump()
    assert await ends.client.receive() == 1
    with pytest.raises(errors.Unavailable):
        await ends.client.receive()


@pytest.mark.parametrize("body", [b"", encode_message(b"1") * 2])
async def test_a_unary_answer_is_one_message(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="one message"):
        await answered(body=body).client.only_message()


async def test_an_answer_that_just_ends_is_malformed() -> None:
    ends = Ends(end=True)
    ends.server._stream.end()
    ends.pair.pump()
    with pytest.raises(RemoteProtocolError, match="without saying how"):
        await ends.client.receive()


@given(st.binary(max_size=80))
def test_whatever_the_head_is_only_errors_of_calls_come_out(head: bytes) -> None:
    import trio

    async def receive() -> Any:
        ends = Ends(end=True)
        ends.server._stream.send_head(head, encode_message(b"1"), end=True)
        ends.pair.pump()
        try:
            await ends.client.only_message()
        except MicroError:
            pass

    trio.run(receive)


async def test_leaving_a_call_that_is_open_cancels_it_and_one_that_is_over_is_just_ended() -> None:
    ends, over = Ends(), Ends()
    ends.client.close()
    ends.pair.pump()
    assert ends.server.scope.cancel_called
    over.server._stream.send_head(pack_reply_head(ReplyHead()), end=True)
    over.pair.pump()
    over.client.close()
    over.pair.pump()
    assert not over.server.scope.cancel_called
    assert over.pair.client.alive == over.pair.server.alive == []


async def test_what_does_not_fit_into_the_first_frame_follows() -> None:
    body = encode_message(b'"' + b"x" * 200_000 + b'"')
    ends = Ends(body)
    async with ends.flowing():
        import trio

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.client.send_rest)
            assert await ends.server.first_message() == "x" * 200_000


async def test_an_answer_that_comes_before_all_of_the_question_is_heard() -> None:
    ends = Ends(encode_message(b'"' + b"x" * 200_000 + b'"'))
    ends.server.fail(errors.Unimplemented("nothing here"))
    ends.pair.pump()
    await ends.client.send_rest()
    with pytest.raises(errors.Unimplemented):
        await ends.client.only_message()


async def test_a_stream_whose_block_was_left_is_closed_by_this_end_and_not_by_the_other() -> None:
    ends = Ends()
    await ends.server.send(1)
    ends.pair.pump()
    ends.client.close()
    assert await ends.client.receive() == 1  # it was here already
    with pytest.raises(trio.ClosedResourceError, match="this end"):
        await ends.client.receive()
