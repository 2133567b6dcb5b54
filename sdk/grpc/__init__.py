"""Projects that are written with grpcio, moved in without being rewritten.

A generated servicer becomes part of a service, with its `async def` methods run on trio and its plain ones in threads:

    greeter = Service("greeter")
    sdk.grpc.mount(greeter, GreeterServicer(), greeter_pb2_grpc.add_GreeterServicer_to_server)
    greeter.run()

Programs that call by grpcio, blocking or on asyncio, go on doing so, through a node:

    with sdk.grpc.insecure_channel("greeter", proxy="localhost:8081") as channel:
        reply = greeter_pb2_grpc.GreeterStub(channel).SayHello(greeter_pb2.HelloRequest(name="John"))

Programs on trio give the same stub a channel that is made of a client:

    stub = greeter_pb2_grpc.GreeterStub(sdk.grpc.Channel(client, "greeter"))
    reply = await stub.SayHello(greeter_pb2.HelloRequest(name="John"))

`import sdk` does not load this package, nor grpcio: write `import sdk.grpc`.
"""

from .channels import aio_channel, insecure_channel
from .mounting import mount
from .stub import Channel

__all__ = ["Channel", "aio_channel", "insecure_channel", "mount"]
