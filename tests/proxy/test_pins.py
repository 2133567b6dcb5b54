import pytest

from proxy.pins import NONE, Pins, pins_of
from sdk.head import Metadata


@pytest.mark.parametrize(
    ("metadata", "pins"),
    [
        (("micro-router", "b"), Pins(router="b")),
        (("x", "y", "micro-network", "prod", "micro-gateway", "gate"), Pins(network="prod", gateway="gate")),
        (("micro-version", "2", "micro-version", "3"), Pins(version="2")),
        (("micro-label-zone", "eu", "micro-label-zone", "us"), Pins(labels=(("zone", "eu"), ("zone", "us")))),
        (("micro-label-a-b", ""), Pins(labels=(("a-b", ""),))),
    ],
)
def test_pins_are_read_from_metadata(metadata: Metadata, pins: Pins) -> None:
    assert pins_of(metadata) == pins


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        ("x", "micro-router"),
        ("micro-service", "greeter", "micro-from-service", "shop"),
        ("micro-router", ""),
        ("micro-kind", "x", "micro-labels", "y"),
    ],
)
def test_other_metadata_pins_nothing(metadata: Metadata) -> None:
    assert pins_of(metadata) is None


def test_people_read_which_of_a_service_may_answer() -> None:
    assert not NONE.kind
    assert not Pins(router="a", network="b", gateway="c").kind
    assert Pins(version="2", labels=(("zone", "eu"),)).kind == "version '2' and label zone=eu"
