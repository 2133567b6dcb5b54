"""A service with one unary and one streaming endpoint. Run it: python examples/greeter.py"""

from sdk import Service

greeter = Service("greeter")


@greeter.handle("Greeter.Hello")
async def hello(request):
    return {"msg": f"Hello {request['name']}"}


@greeter.handle("Greeter.Count")
async def count(request, stream):
    for n in range(request["to"]):
        await stream.send({"n": n})


if __name__ == "__main__":
    greeter.run()
