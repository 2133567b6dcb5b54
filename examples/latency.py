"""Times calls to the greeter, one after another. Run it: MICRO_PROXY=go.micro.network python examples/latency.py"""

from statistics import quantiles

import trio

from sdk import Client

CALLS = 200


async def main():
    async with Client() as client:
        times = []
        for _ in range(CALLS):
            began = trio.current_time()
            await client.call("greeter", "Greeter.Hello", {"name": "John"})
            times.append((trio.current_time() - began) * 1000)
    percentiles = quantiles(times, n=100)
    print(f"{CALLS} calls, one after another: p50 {percentiles[49]:.2f} ms, p99 {percentiles[98]:.2f} ms")


if __name__ == "__main__":
    trio.run(main)
