import asyncio  # noqa: TID251 - what people come from
import threading

import pytest
import trio

from sdk import Client, Service, errors


async def one_call() -> None:
    async with Client(address="127.0.0.1:1") as client:
        await client.call("greeter", "Greeter.Hello")


@pytest.mark.parametrize("main", [one_call, Service("greeter").serve])
def test_under_asyncio_one_is_told_to_use_trio(main: object) -> None:
    with pytest.raises(RuntimeError, match=r"start with trio\.run\(main\) instead of asyncio\.run"):
        asyncio.run(main())  # type: ignore[operator]


def test_a_program_on_asyncio_calls_from_a_thread_as_it_is_told() -> None:
    async def main() -> None:
        with pytest.raises(errors.Unavailable):
            await asyncio.to_thread(trio.run, one_call)

    asyncio.run(main())


async def test_a_service_does_not_run_inside_of_an_event_loop_and_says_what_does() -> None:
    with pytest.raises(RuntimeError, match=r"await nursery\.start\(service\.serve\)"):
        Service("greeter").run()


def test_a_service_runs_in_the_main_thread_and_says_what_to_do_in_others() -> None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            Service("greeter").run()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match=r"trio\.run\(service\.serve\)"):
        raise raised[0]
