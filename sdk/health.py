"""Whether a service can do its work: what its own checks say, asked all at once and never waited for long."""

import enum
import inspect
from collections.abc import Awaitable, Callable

import trio

Check = Callable[[], Awaitable[object] | object]
"""An async or a plain function without arguments, which raises or returns False when something is wrong."""

CHECK_SECONDS = 2.0
"""Until a check that does not end counts as failed; whoever asks for health has a deadline of their own, 5 s as a
rule."""

OK = "ok"
"""What is said of a check that found nothing."""


class Health(enum.Enum):
    """What a service says of itself; the words are those of gRPC's health protocol, with a space."""

    SERVING = "serving"
    NOT_SERVING = "not serving"


async def results(checks: dict[str, Check]) -> dict[str, str]:
    """Runs the checks side by side; for each, `ok` or what is wrong."""
    found = dict.fromkeys(checks, OK)

    async def ask(name: str, check: Check) -> None:
        found[name] = await _result(check)

    async with trio.open_nursery() as nursery:
        for name, check in checks.items():
            nursery.start_soon(ask, name, check)
    return found


async def _result(check: Check) -> str:
    try:
        with trio.move_on_after(CHECK_SECONDS):
            result = check()
            if inspect.isawaitable(result):
                result = await result
            return "it said False" if result is False else OK
    except Exception as error:  # a check says what is wrong by raising, whatever it is
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"no answer in {CHECK_SECONDS:g} s"
