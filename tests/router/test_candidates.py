from router.candidates import summary
from tests.router.network import entry


def test_several_versions_come_to_one_candidate() -> None:
    assert summary([entry("x", "2", instances=3), entry("x", "1")]) == {
        "versions": ("1", "2"),
        "protocols": ("grpc",),
        "instances": 4,
        "weight": 4,
    }
