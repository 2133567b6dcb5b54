"""Local ports that lead to services: how they are written, and a node that has some."""

import json
from pathlib import Path

import pytest
import trio

from mesh.config import NodeConfig
from mesh.local_ports import Forward, check_once, parse_listen, read_forward
from sdk.errors import BadRequest
from sdk.rawsocket import open_tcp
from tests.processes import PATIENCE, run, start, start_only
from tests.proxy.raw import echo, read_to_end, serve

NODE = ("micro", "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0", "--resolver", "static")


@pytest.mark.parametrize(
    ("text", "address", "service"),
    [
        ("15432=postgres", "127.0.0.1:15432", "postgres"),
        (":15432=postgres", "127.0.0.1:15432", "postgres"),
        (" 15432 = postgres ", "127.0.0.1:15432", "postgres"),
        ("0.0.0.0:15432=postgres", "0.0.0.0:15432", "postgres"),
        ("localhost:0=go.micro.db", "localhost:0", "go.micro.db"),
        ("[::1]:15432=postgres", "[::1]:15432", "postgres"),
    ],
)
def test_a_port_leads_to_a_service(text: str, address: str, service: str) -> None:
    assert parse_listen(text) == Forward(address=address, service=service)


@pytest.mark.parametrize(
    "text", ["", "postgres", "15432", "15432=", "=postgres", "postgres=15432", "99999=x", "-1=x", "1=a\nb", "15432:db"]
)
def test_what_leads_nowhere_is_refused_naming_the_flag(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_listen(text)
    assert str(caught.value).startswith(f"--listen (MICRO_NETWORK_LISTEN) has {text!r}")


def test_the_error_begins_with_what_was_read() -> None:
    with pytest.raises(BadRequest, match="here: "):
        read_forward("port", "db", "here")


def test_a_port_leads_to_one_service_only() -> None:
    two = tuple(Forward(address="127.0.0.1:15432", service=service) for service in ("a", "b"))
    with pytest.raises(BadRequest, match=r"--listen \(MICRO_NETWORK_LISTEN\) has 127.0.0.1:15432 2 times"):
        NodeConfig(listens=two)
    check_once((Forward(address="127.0.0.1:0", service=service) for service in ("a", "b")), "--listen")


async def test_a_node_leads_programs_from_its_local_ports_to_services_of_other_nodes(tmp_path: Path) -> None:
    here, there = ({"MICRO_REGISTRY_ADDRESS": str(tmp_path / name), "MICRO_NETWORK_TOKEN": "sesame"} for name in "ab")
    async with trio.open_nursery() as nursery:
        address = await serve(nursery, echo)
        record = {"name": "db", "nodes": [{"id": "db-1", "address": address, "metadata": {"protocol": "tcp"}}]}
        assert run("micro", "register", "service", json.dumps(record), env=there).status == 0
        with start(*NODE, env=there) as far:
            listen = ("--listen", "0=db,127.0.0.1:0=nobody", "--listen", "localhost:0=db")
            with start(*NODE, "--nodes", far.address("link"), *listen, env=here) as near:
                ports = [place.split("=") for place in near.address("listen").split(",")]
                assert [service for _, service in ports] == ["db", "nobody", "db"]
                for place in (ports[0][0], ports[2][0]):
                    with trio.fail_after(PATIENCE):
                        async with await open_tcp(place) as program:
                            await program.send_all(b"hello")
                            await program.send_eof()
                            assert await read_to_end(program) == b"hello"
                assert near.stop()[0] == 0
        nursery.cancel_scope.cancel()


async def test_a_port_that_is_taken_is_named_with_the_variable(tmp_path: Path) -> None:
    env = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db"), "MICRO_NETWORK_TOKEN": "sesame"}
    async with trio.open_nursery() as nursery:
        taken = await serve(nursery, echo)
        with start_only(*NODE, env={**env, "MICRO_NETWORK_LISTEN": f"0=a,{taken}=b"}) as node:
            status, stderr = await trio.to_thread.run_sync(node.wait)
        assert status == 1
        assert f"--listen (MICRO_NETWORK_LISTEN): port {taken.rpartition(':')[2]} is taken" in stderr
        nursery.cancel_scope.cancel()
