"""An ASGI app as a service: whatever framework made the app, others reach it by name through their node.

Run it: python examples/web.py. Then, with a node on this host: http_proxy=http://localhost:8081 curl http://web/hello
"""

import os
import signal

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from sdk.config import ClientConfig
from sdk.registry import open_registry
from sdk.types import Instance, Service


async def app(scope, receive, send):
    """Any ASGI app stands here: Starlette's, FastAPI's, Django's."""
    if scope["type"] != "http":
        raise NotImplementedError(f"this app has no use for {scope['type']}")
    text = f"{scope['method']} {scope['path']} is answered by the web app\n".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text})


async def main():
    config = Config()
    config.bind = ["127.0.0.1:0"]
    said = ClientConfig.from_environment(os.environ)
    async with open_registry(said.registry, said.registry_address) as registry, trio.open_nursery() as nursery:
        [url] = await nursery.start(serve, app, config)
        address = url.removeprefix("http://")
        instance = Instance(id=f"web-{address}", address=address, metadata={"protocol": "http"})
        record = Service(name="web", version="1", instances=(instance,))
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            await nursery.start(renew, registry, record)
            print("ready web", address, flush=True)
            async for _ in signals:
                break
        with trio.move_on_after(2, shield=True):
            await registry.deregister(record)
        nursery.cancel_scope.cancel()


async def renew(registry, record, *, task_status):
    """While the app runs it stands in the registry; once it is gone, not for long."""
    await registry.register(record, ttl=30)
    task_status.started()
    while True:
        await trio.sleep(10)
        await registry.register(record, ttl=30)


if __name__ == "__main__":
    trio.run(main)
