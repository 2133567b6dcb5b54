from hypothesis import given
from hypothesis import strategies as st

from mesh.config import NODE_SERVICE
from mesh.seeds import Seeds, links_in_registry
from sdk.types import Instance, Service


def record(*nodes: tuple[str, str], network: str = "go.micro", name: str = NODE_SERVICE) -> Service:
    return Service(
        name=name,
        instances=tuple(
            Instance(id=f"{name}-{id}", address="127.0.0.1:1", metadata={"id": id, "link": link, "network": network})
            for id, link in nodes
        ),
    )


class Dialled:
    """Stands where the tunnel is: remembers which addresses are dialled."""

    def __init__(self, *, named: tuple[str, ...] = ()) -> None:
        self.now: list[str] = []
        self.seeds = Seeds(
            named=named, network="go.micro", me="me", link="me:1", dial=self.now.append, leave=self.now.remove
        )


def test_named_nodes_are_dialled_once_each() -> None:
    dialled = Dialled(named=("a:1", "b:1", "a:1"))
    dialled.seeds.start()
    assert dialled.now == ["a:1", "b:1"]


def test_nodes_of_the_registry_come_and_go_with_their_records() -> None:
    dialled = Dialled()
    dialled.seeds.update([record(("x", "x:1"), ("y", "y:1"))])
    assert dialled.now == ["x:1", "y:1"]
    dialled.seeds.update([record(("y", "y:1"), ("z", "z:1"))])
    assert dialled.now == ["y:1", "z:1"]
    dialled.seeds.update([])
    assert dialled.now == []


def test_a_named_node_is_dialled_even_when_its_record_is_gone() -> None:
    dialled = Dialled(named=("x:1",))
    dialled.seeds.start()
    dialled.seeds.update([record(("x", "x:1"))])
    dialled.seeds.update([])
    assert dialled.now == ["x:1"]


def test_this_node_other_networks_and_other_services_are_no_seeds() -> None:
    services = [
        record(("me", "me:1"), ("x", "x:1")),
        record(("y", "y:1"), network="other"),
        record(("z", "z:1"), name="greeter"),
        Service(
            name=NODE_SERVICE,
            instances=(Instance(id="old", address="o:1", metadata={"network": "go.micro", "id": "old"}),),
        ),
    ]
    assert links_in_registry(services, network="go.micro", me="me") == {"x:1"}


def test_the_record_of_a_node_that_was_killed_at_this_nodes_address_is_no_seed() -> None:
    dialled = Dialled()
    dialled.seeds.update([record(("before", "me:1"), ("x", "x:1"))])
    assert dialled.now == ["x:1"]


@given(st.lists(st.sets(st.sampled_from("abcdef")), max_size=8), st.sets(st.sampled_from("abcdef")))
def test_what_is_dialled_is_always_what_is_named_and_what_is_registered(
    states: list[set[str]], named: set[str]
) -> None:
    dialled = Dialled(named=tuple(sorted(named)))
    dialled.seeds.start()
    for state in states:
        dialled.seeds.update([record(*((name, name) for name in sorted(state)))])
        assert sorted(dialled.now) == sorted(named | state)


def test_what_each_source_knows_counts_and_one_source_that_forgets_a_node_does_not_for_another() -> None:
    dialled = Dialled()
    dialled.seeds.found("one.example", ("b:1", "a:1"))
    dialled.seeds.found("two.example", ("a:1", "me:1"))
    assert dialled.now == ["b:1", "a:1"]
    dialled.seeds.found("one.example", ())
    assert dialled.now == ["a:1"]
    dialled.seeds.found("two.example", ())
    assert dialled.now == []


def test_a_node_that_was_named_later_is_dialled_though_its_record_goes() -> None:
    dialled = Dialled()
    dialled.seeds.update([record(("x", "x:1"), ("y", "y:1"))])
    dialled.seeds.name("x:1")
    dialled.seeds.update([])
    assert dialled.now == ["x:1"]
