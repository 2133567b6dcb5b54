"""Whose event loop it is: programs on another one are told so, and not by an error deep inside trio."""

import trio


def check_loop() -> None:
    """Raises `RuntimeError` outside of trio: under asyncio, say, or where no event loop runs."""
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            "this is no task of trio, on which services and clients run: start with trio.run(main) instead of "
            "asyncio.run(main()); a program on asyncio calls from a thread, `await asyncio.to_thread(trio.run, main)`"
        )
