"""The services that gRPC servers offer of themselves, health and reflection, asked through two nodes."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.processes import PATIENCE
from tests.twonodes import World

HEALTH = "grpc.health.v1.Health"


@pytest.fixture(scope="module")
def servicer() -> health.HealthServicer:
    return health.HealthServicer()


@pytest.fixture(scope="module")
def channel(servicer: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    with ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("world"), stack)
        server = world.serve_grpc("fit")
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        reflection.enable_server_reflection((HEALTH, reflection.SERVICE_NAME), server)
        world.until_known("fit")
        # These services have one name everywhere: whose they are is said by the authority.
        options = (("grpc.default_authority", "fit"),)
        yield stack.enter_context(grpc.insecure_channel(world.proxy, options=options))


def test_the_health_of_an_instance_is_told(channel: Any, servicer: Any) -> None:
    servicer.set("part", health_pb2.HealthCheckResponse.NOT_SERVING)
    stub = health_pb2_grpc.HealthStub(channel)
    for part, status in (("", "SERVING"), ("part", "NOT_SERVING")):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=part), timeout=PATIENCE)
        assert health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) == status
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_whoever_watches_the_health_hears_of_each_change(channel: Any, servicer: Any) -> None:
    states = (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING)
    servicer.set("watched", states[0])
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="watched"), timeout=30)
    for now, after in (states, states[::-1], states):
        assert next(watch).status == now
        servicer.set("watched", after)
    watch.cancel()


def test_reflection_tells_which_services_there_are_and_what_they_take(channel: Any) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {HEALTH, reflection.SERVICE_NAME}
    method = DescriptorPool(database).FindServiceByName(HEALTH).FindMethodByName("Check")
    assert method.input_type.fields[0].name == "service"
