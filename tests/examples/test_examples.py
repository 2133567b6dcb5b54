"""Each example does what it says, run as its reader would."""

import signal
from pathlib import Path

import pytest

from tests.processes import run, start

EXAMPLES = Path(__file__).parents[2] / "examples"

ALONE = {
    "streaming.py": "double: 42\ncount: [0, 1, 2]\nsum: 6\neach: 1 → 2\neach: 2 → 4\neach: 3 → 6\n",
    "typed.py": "3 things cost 15.00\nrefused: shop Shop.Total: the request cannot be read: items[0].price is str, not "
    "float\n",
    "two_clouds.py": "Hello John\n0\n1\n2\n",
    "wrapper.py": "  Greeter.Hello: Unauthorized\nwho shows no token is not let in\n"
    "  Greeter.Hello: ok\nHELLO JOHN\n  Greeter.Hello: ok\nHELLO JOHN\n"
    "  Greeter.Hello: TooManyRequests\nand not more often than agreed\n",
}
"""What those print that need nobody else."""


ASK = """
import sys, time, httpx
answer = None
while answer is None or answer.status_code == 404:  # until the node has heard of it
    time.sleep(0.05)
    answer = httpx.get("http://web/hello", proxy=f"http://{sys.argv[1]}")
print(answer.text, end="")
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"MICRO_REGISTRY": "sqlite", "MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}


@pytest.mark.parametrize("name", ALONE)
def test_an_example_that_needs_nobody_else(name: str, env: dict[str, str]) -> None:
    done = run("python", f"examples/{name}", env=env)
    assert (done.status, done.stdout) == (0, ALONE[name])


@pytest.mark.parametrize(
    ("name", "says"),
    [("caller.py", "Hello John\n0\n1\n2\n"), ("notebook.py", "Hello Ada\nHello Grace\nHello Barbara\n")],
)
def test_an_example_that_calls_the_greeter(name: str, says: str, env: dict[str, str]) -> None:
    with start("python", "examples/greeter.py", env=env):
        done = run("python", f"examples/{name}", env=env)
    assert (done.status, done.stdout, done.stderr) == (0, says, "")


def test_a_web_app_is_reached_by_its_name_through_a_node(env: dict[str, str]) -> None:
    with (
        start("micro", "proxy", "--address", "127.0.0.1:0", env=env) as node,
        start("python", "examples/web.py", env=env) as web,
    ):
        address = node.address("proxy")
        done = run("python", "-c", ASK, address, env=env)
        assert (done.status, done.stdout) == (0, "GET /hello is answered by the web app\n")
        assert web.stop(signal.SIGTERM)[0] == 0
    assert "web" not in run("micro", "list", "services", env=env).stdout


def test_every_example_is_tried() -> None:
    tried = {*ALONE, "greeter.py", "caller.py", "notebook.py", "web.py", "demo.py", "latency.py", "protobuf_grpcio.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tried
