import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sdk.errors import NotFound
from sdk.wrappers import logged
from tests.sdk.wrappers.calls import going_well, hanging, incoming, outgoing


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


async def test_a_call_is_one_line_on_either_side_without_what_was_said(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def slowly(call: Any) -> Any:
        await trio.sleep(0.0125)
        return {"token": "s3cret"}

    assert await logged()(outgoing(), slowly) == {"token": "s3cret"}
    await logged(level=logging.DEBUG)(incoming("authorization", "s3cret"), slowly)
    assert caplog.messages == [
        "called greeter Greeter.Hello: went well in 12.5 ms",
        "answered greeter Greeter.Hello: went well in 12.5 ms",
    ]
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.DEBUG]


@pytest.mark.parametrize(
    ("error", "said"),
    [(NotFound("no\nJohn"), r"failed with NotFound 'no\nJohn'"), (ValueError("s3cret"), "failed with ValueError")],
)
async def test_a_failure_says_its_class_and_what_callers_are_told_in_one_line(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(call: Any) -> Any:
        raise error

    with pytest.raises(type(error)):
        await logged()(incoming(), fail)
    [message] = caplog.messages
    assert message.startswith(f"answered greeter Greeter.Hello: {said} in ")


async def test_a_cancelled_call_is_said_and_stays_cancelled(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    own = logging.getLogger("own")
    with trio.move_on_after(1) as scope:
        await logged(own)(outgoing(), hanging)
    assert scope.cancelled_caught
    assert caplog.record_tuples == [("own", logging.INFO, "called greeter Greeter.Hello: was cancelled in 1000.0 ms")]


async def test_what_is_inside_gets_the_call_as_it_is() -> None:
    assert await logged()(outgoing(), going_well) == "well"
