"""What fronts and proxies in tests are made of."""

import trio

from sdk.connection import Transport


async def pump(one: Transport, other: Transport) -> None:
    """Passes bytes both ways until either end is over."""

    async def pass_on(source: Transport, sink: Transport) -> None:
        try:
            while data := await source.receive_some():
                await sink.send_all(bytes(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_on, one, other)
        nursery.start_soon(pass_on, other, one)
