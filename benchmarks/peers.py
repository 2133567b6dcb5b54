"""Services and callers of other frameworks, and of ours, that do the same: give back 128 bytes.

    python -m benchmarks.peers serve KIND PORT              # prints `ready PORT`
    python -m benchmarks.peers load KIND PORT IN_FLIGHT SECONDS    # prints what it found, as JSON

    sdk, sdk-node    our SDK; the environment says whether by a node, and where the registry is
    grpc, grpc-aio   grpcio, with threads and with asyncio
    nats             nats-py; PORT is that of a nats-server, also to serve
    http             httpx, and an ASGI app that hypercorn serves

Each is imported only where it is used: who has not installed one can measure the others. Load and service are processes
of their own, and a load takes its time from before a call until its answer is there as the caller's value.
"""

import asyncio  # noqa: TID251 - most of what is measured runs on it
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

BODY: Final = b"x" * 128

METHOD: Final = "/greeter.Greeter/Hello"
SUBJECT: Final = "greeter.Hello"

Latencies = list[float]


def serve_grpc(port: int) -> None:
    """grpcio with threads: as many as calls are in flight at most."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    server = grpc.server(ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_generic(grpc, lambda request, context: request),))
    print("ready", server.add_insecure_port(f"127.0.0.1:{port}"), flush=True)
    server.start()
    server.wait_for_termination()


def serve_grpc_aio(port: int) -> None:
    """grpcio with asyncio."""
    import grpc

    async def echo(request: bytes, context: object) -> bytes:
        return request

    async def serve() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_generic(grpc, echo),))
        print("ready", server.add_insecure_port(f"127.0.0.1:{port}"), flush=True)
        await server.start()
        await server.wait_for_termination()

    asyncio.run(serve())


def _generic(grpc: Any, echo: Callable[..., Any]) -> Any:
    return grpc.method_handlers_generic_handler("greeter.Greeter", {"Hello": grpc.unary_unary_rpc_method_handler(echo)})


def serve_nats(port: int) -> None:
    """nats-py: a subscription that answers."""
    import nats  # type: ignore[import-not-found]

    async def serve() -> None:
        client = await nats.connect(f"nats://127.0.0.1:{port}")

        async def echo(message: Any) -> None:
            await message.respond(message.data)

        await client.subscribe(SUBJECT, cb=echo)
        await client.flush()
        print("ready", port, flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())


def serve_http(port: int) -> None:
    """An ASGI app in hypercorn."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = config.errorlog = None
    print("ready", port, flush=True)
    asyncio.run(serve(app, config))  # type: ignore[arg-type]


def load_grpc(port: int, in_flight: int, seconds: float) -> Latencies:
    """A thread for each call in flight, all on one channel."""
    import grpc

    latencies: Latencies = []
    end = time.perf_counter() + seconds
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(METHOD)

        def work() -> None:
            while (began := time.perf_counter()) < end:
                call(BODY)
                latencies.append(time.perf_counter() - began)

        threads = [threading.Thread(target=work) for _ in range(in_flight)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return latencies


def load_grpc_aio(port: int, in_flight: int, seconds: float) -> Latencies:
    """A task for each call in flight, all on one channel."""
    import grpc

    async def load() -> Latencies:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary(METHOD)
            return await _in_tasks(lambda: call(BODY), in_flight, seconds)

    return asyncio.run(load())


def load_nats(port: int, in_flight: int, seconds: float) -> Latencies:
    """A task for each request in flight, all on one connection."""
    import nats

    async def load() -> Latencies:
        client = await nats.connect(f"nats://127.0.0.1:{port}")
        try:
            return await _in_tasks(lambda: client.request(SUBJECT, BODY, timeout=10), in_flight, seconds)
        finally:
            await client.close()

    return asyncio.run(load())


def load_http(port: int, in_flight: int, seconds: float) -> Latencies:
    """A task for each request in flight, each on a connection that is kept."""
    import httpx

    async def load() -> Latencies:
        limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
        async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
            url = f"http://127.0.0.1:{port}/greeter/hello"
            return await _in_tasks(lambda: client.post(url, content=BODY), in_flight, seconds)

    return asyncio.run(load())


async def _in_tasks(call: Callable[[], Awaitable[Any]], in_flight: int, seconds: float) -> Latencies:
    latencies: Latencies = []
    end = time.perf_counter() + seconds

    async def work() -> None:
        while (began := time.perf_counter()) < end:
            await call()
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return latencies


def load_sdk(port: int, in_flight: int, seconds: float) -> Latencies:
    """A task for each call in flight; one client."""
    import trio

    from sdk import Client

    async def load() -> Latencies:
        latencies: Latencies = []
        end = time.perf_counter() + seconds

        async def work(client: Client) -> None:
            while (began := time.perf_counter()) < end:
                await client.call("greeter", "Greeter.Hello", BODY)
                latencies.append(time.perf_counter() - began)

        async with Client() as client, trio.open_nursery() as nursery:
            for _ in range(in_flight):
                nursery.start_soon(work, client)
        return latencies

    return trio.run(load)


SERVE: Final[dict[str, Callable[[int], None]]] = {
    "grpc": serve_grpc,
    "grpc-aio": serve_grpc_aio,
    "nats": serve_nats,
    "http": serve_http,
}
LOAD: Final[dict[str, Callable[[int, int, float], Latencies]]] = {
    "sdk": load_sdk,
    "grpc": load_grpc,
    "grpc-aio": load_grpc_aio,
    "nats": load_nats,
    "http": load_http,
}


def main(what: str, kind: str, port: str, *more: str) -> None:
    """One of the two commands above."""
    if what == "serve":
        SERVE[kind](int(port))
        return
    in_flight, seconds = int(more[0]), float(more[1])
    LOAD[kind](int(port), in_flight, min(seconds, 0.5))  # what is not there yet is made and warmed
    before, began = os.times(), time.perf_counter()
    latencies = sorted(LOAD[kind](int(port), in_flight, seconds))
    took, after = time.perf_counter() - began, os.times()
    count = len(latencies)
    found = {
        "per_s": count / took,
        "p50_us": latencies[count // 2] * 1e6,
        "p99_us": latencies[count * 99 // 100] * 1e6,
        "caller_us": (after.user + after.system - before.user - before.system) / count * 1e6,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
