from router.services import MAX_LABELS, MAX_PROTOCOLS, by_name, entry_of, is_callable
from sdk.types import Instance, Service
from tests.router.network import entry


def instance(number: int, **metadata: str) -> Instance:
    return Instance(id=f"i{number}", address=f"10.0.0.{number}:80", metadata=metadata)


def test_instances_are_summed_up_into_one_entry() -> None:
    service = Service(
        name="greeter",
        version="2",
        metadata={"zone": "b", "env": "test"},
        instances=(
            instance(1),
            instance(2, protocol="http"),
            instance(3, protocol="grpc"),
            instance(4, protocol="mucp"),
        ),
    )
    told = entry_of(service)
    assert told is not None
    assert told.key == ("greeter", "2")
    assert told.protocols == ("grpc", "http", "mucp")
    assert (told.instances, told.weight) == (4, 3), "go-micro's own wire is listed, and gets no calls"
    assert told.labels == (("env", "test"), ("zone", "b"))


def test_a_service_without_instances_is_nothing_to_tell() -> None:
    assert entry_of(Service(name="greeter")) is None


def test_names_that_others_would_not_take_are_not_told() -> None:
    for name in ("", "x" * 256, "bell\a", "\ud800"):
        assert entry_of(Service(name=name, instances=(instance(1),))) is None
        assert name == "" or entry_of(Service(name="x", version=name, instances=(instance(1),))) is None


def test_labels_and_protocols_that_others_would_not_take_are_left_out() -> None:
    metadata = {"good": "label", "bad": "line\nbreak", "x" * 256: "long"} | {f"more-{n}": "" for n in range(100)}
    instances = tuple(instance(n, protocol=f"p{n:02}") for n in range(20))
    told = entry_of(Service(name="greeter", metadata=metadata, instances=(*instances, instance(21, protocol="\x1b"))))
    assert told is not None
    assert ("good", "label") in told.labels
    assert len(told.labels) == MAX_LABELS
    assert "bad" not in dict(told.labels)
    assert len(told.protocols) == MAX_PROTOCOLS
    assert told.instances == 21


def test_only_go_micros_own_wire_cannot_be_called() -> None:
    assert [is_callable(instance(1, protocol=name)) for name in ("grpc", "http", "tcp", "mucp")] == [True] * 3 + [False]


def test_versions_of_one_name_stand_together() -> None:
    one, two, other = entry("x", "1"), entry("x", "2"), entry("y")
    assert by_name([two, other, one]) == {"x": (one, two), "y": (other,)}, "in the order of the versions"
