"""The command as a whole: quick to answer, and it ends well whatever it is told."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.processes import run


def test_the_help_names_every_command() -> None:
    done = run("micro", "--help")
    assert done.status == 0
    for command in ("network", "call", "stream", "list", "get", "register", "deregister"):
        assert f"\n  {command} " in done.stdout


def test_it_says_which_version_it_is() -> None:
    done = run("micro", "--version")
    assert (done.status, done.stdout) == (0, f"micro {version('micro-network')}\n")


@pytest.mark.parametrize(
    "script",
    [
        "import mesh.cli",
        "from mesh.cli import micro; micro.main(['call', '--help'], standalone_mode=False)",
        "from mesh.cli import micro; micro.main(['network', '--help'], standalone_mode=False)",
    ],
)
def test_only_a_node_loads_what_only_a_node_needs(script: str) -> None:
    heavy = (
        "{'networkx', 'grpc', 'cryptography', 'sqlite3', 'tunnel', 'router', 'proxy', 'trio_websocket', 'httpx', 'dns'}"
    )
    done = run("python", "-c", f"import sys\n{script}\nprint(sorted({heavy} & set(sys.modules)))")
    assert done.status == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_node_loads_what_asks_for_nodes_only_where_it_is_to_be_asked() -> None:
    script = """
import sys
from mesh.config import NodeConfig
from mesh.node import Node
from mesh.resolver import sources
print({'httpx', 'dns'} & set(sys.modules))
for resolver, module in (("dns", "dns"), ("http://a.example/", "httpx")):
    config = NodeConfig(resolver=resolver, nodes=("a:1",))
    assert module not in sys.modules and sources(config.choice, config.nodes, None) and module in sys.modules
"""
    done = run("python", "-c", script)
    assert (done.status, done.stdout) == (0, "set()\n"), done.stderr


@pytest.mark.parametrize("arguments", [("nonsense",), ("call",), ("network", "--web-address", ":8082"), ("--colour",)])
def test_a_command_line_that_cannot_be_used_says_so(arguments: tuple[str, ...]) -> None:
    done = run("micro", *arguments)
    assert (done.status, done.stdout) == (2, "")
    assert "Usage: micro" in done.stderr


def test_a_reader_that_leaves_is_no_reason_for_a_traceback(tmp_path: Path) -> None:
    script = "import sys; from mesh.cli import main; sys.argv[1:] = ['--help']; main()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
