import re
from typing import Any

import pytest
import trio

from sdk import Client, errors
from sdk.registry.memory import MemoryRegistry
from sdk.wrappers import recovering
from tests.sdk.living import offering, running
from tests.sdk.wrappers.calls import going_well, hanging, incoming


async def test_the_caller_is_told_an_incident_and_the_log_has_it_with_the_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(request: Any) -> Any:
        raise KeyError("s3cret")

    async with (
        MemoryRegistry() as registry,
        running(offering(registry, {"Greeter.Fail": fail}, wrappers=[recovering()])),
        Client(registry=registry) as client,
    ):
        with pytest.raises(errors.InternalServerError) as caught:
            await client.call("greeter", "Greeter.Fail")
    found = re.fullmatch(r"greeter Greeter\.Fail failed; its log .* incident ([0-9a-f]{16})", caught.value.detail)
    assert found
    [record] = caplog.records
    assert found[1] in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


async def test_an_exit_is_kept_from_the_caller_too_and_an_interrupt_passes(caplog: pytest.LogCaptureFixture) -> None:
    async def leave(call: Any) -> Any:
        async with trio.open_nursery():
            raise SystemExit("s3cret")

    async def interrupt(call: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(errors.InternalServerError) as caught:
        await recovering()(incoming(), leave)
    assert "s3cret" not in caught.value.detail
    assert len(caplog.records) == 1
    with pytest.raises(KeyboardInterrupt):
        await recovering()(incoming(), interrupt)


async def test_errors_of_calls_pass_also_out_of_the_handlers_own_nursery(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(call: Any) -> Any:
        async with trio.open_nursery():
            raise errors.NotFound("John")

    with pytest.RaisesGroup(errors.NotFound):
        await recovering()(incoming(), fail)
    assert not caplog.records


async def test_an_answer_and_a_cancellation_pass() -> None:
    assert await recovering()(incoming(), going_well) == "well"
    with trio.move_on_after(0) as scope:
        await recovering()(incoming(), hanging)
    assert scope.cancelled_caught
