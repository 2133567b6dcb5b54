"""Which address a service tells on hosts with several networks: real ones, in namespaces."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.namespaces import apart, ip
from tests.processes import Running, run

SERVICE = """
from sdk import Service
Service("greeter", address=":0").run()
"""


@pytest.fixture
def host(require: Callable[[str], None]) -> Iterator[str]:
    """A host with two networks, to nobody: none of them leads out yet."""
    require("ip")
    with apart() as (name, router):
        for number, network in enumerate(("inner", "outer"), 1):
            ip("-n", name, "link", "add", network, "type", "veth", "peer", "name", network, "netns", router)
            ip("-n", router, "link", "set", network, "up")
            ip("-n", name, "address", "add", f"10.{number}.0.7/24", "dev", network)
            ip("-n", name, "address", "add", f"fd00:{number}::7/64", "dev", network, "nodad")
            ip("-n", name, "link", "set", network, "up")
        yield name


def told(host: str, folder: Path) -> str:
    """The address, without the port, of a service there that listens on every interface."""
    env = {**os.environ, "MICRO_REGISTRY_ADDRESS": str(folder / "r.db")}
    with Running(["ip", "netns", "exec", host, sys.executable, "-c", SERVICE], env) as service:
        service.wait_until_ready()
        record = run("micro", "get", "service", "greeter", "--output", "json", env=env)
    [instance] = json.loads(record.stdout)["services"][0]["nodes"]
    return str(instance["address"]).rpartition(":")[0]


@pytest.mark.peers
@pytest.mark.parametrize(("route", "address"), [("10.1.0.1", "10.1.0.7"), ("10.2.0.1", "10.2.0.7")])
def test_of_two_networks_the_one_with_the_way_out_is_told(host: str, tmp_path: Path, route: str, address: str) -> None:
    ip("-n", host, "route", "add", "default", "via", route)
    assert told(host, tmp_path) == address


@pytest.mark.peers
def test_where_only_ipv6_leads_out_that_is_told(host: str, tmp_path: Path) -> None:
    ip("-n", host, "-6", "route", "add", "default", "via", "fd00:2::1")
    assert told(host, tmp_path) == "[fd00:2::7]"


@pytest.mark.peers
def test_where_nothing_leads_out_the_host_itself_is_told(host: str, tmp_path: Path) -> None:
    assert told(host, tmp_path) == "127.0.0.1"
