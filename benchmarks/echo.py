"""The SDK service of the benchmarks: gives back what it is sent."""

from sdk import Service

greeter = Service("greeter")


@greeter.handle("Greeter.Hello")
async def hello(request: bytes) -> bytes:
    """Echoes the bytes."""
    return request


if __name__ == "__main__":
    greeter.run()
