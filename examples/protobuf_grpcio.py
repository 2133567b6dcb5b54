"""A servicer as grpcio's users write it, in a service, and its three callers.

python examples/protobuf_grpcio.py
MICRO_PROXY=localhost:8081 python examples/protobuf_grpcio.py call, once `micro network` runs

It takes grpcio-tools: the modules that a project has from protoc are generated here when the program starts.
"""

import sys
from typing import Any

import grpc
import trio

import sdk.grpc
from sdk import Client, Service

messages: Any
services: Any
messages, services = grpc.protos_and_services("welcome.proto")


class Welcome(services.WelcomeServicer):
    def SayHello(self, request, context):  # runs in a thread
        if not request.name:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "who are you?")
        return messages.Words(text=f"Hello {request.name}")

    async def CountDown(self, request, context):  # runs on trio
        for n in range(getattr(request, "from"), 0, -1):
            yield messages.Words(text=f"{n} {request.name}")


def serve():
    service = Service("welcome")
    sdk.grpc.mount(service, Welcome(), services.add_WelcomeServicer_to_server)
    service.run()


def call():
    """As existing programs do, but for the channel."""
    with sdk.grpc.insecure_channel("welcome") as channel:
        stub = services.WelcomeStub(channel)
        print(stub.SayHello(messages.Guest(name="John")).text)
        try:
            stub.SayHello(messages.Guest())
        except grpc.RpcError as error:
            print(error.code().name, error.details())


async def call_on_trio():
    async with Client() as client:
        stub = services.WelcomeStub(sdk.grpc.Channel(client, "welcome"))
        async with stub.CountDown(messages.Guest(name="sheep", **{"from": 2})) as replies:
            async for reply in replies:
                print(reply.text)
        # And without any generated module.
        print(await client.call("welcome", "Welcome.SayHello", {"name": "Jane"}))


if __name__ == "__main__":
    if sys.argv[1:] == ["call"]:
        call()
        trio.run(call_on_trio)
    else:
        serve()
