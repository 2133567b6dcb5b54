"""A real database, a web server and a service on one host, and their users on another, joined by `micro tunnel` over a
line of 40 ms that loses a hundredth of the packets."""

import hashlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.namespaces import apart
from tests.processes import PATIENCE, Done, Running, run, start, start_only

pytestmark = pytest.mark.peers

MICRO = str(Path(sys.executable).with_name("micro"))
PROGRAMS = "/usr/lib/postgresql"
"""Where Debian keeps the programs of the server, by version."""

PAGE = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(100_000))
"""Three megabytes."""

# Connects and says how many seconds that took.
CONNECT = """
import socket, sys, time
began = time.monotonic()
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
print(time.monotonic() - began)
"""


class Host:
    """One of the two hosts, with a registry of its own."""

    def __init__(self, namespace: str, registry: Path, stack: ExitStack) -> None:
        self._inside = ("ip", "netns", "exec", namespace)
        self._stack = stack
        self._env = {
            "MICRO_REGISTRY": "sqlite",
            "MICRO_REGISTRY_ADDRESS": str(registry),
            "MICRO_TUNNEL_TOKEN": "a secret of this test",
            "MICRO_PROXY": "go.micro.tunnel",
        }

    def start(self, *command: str) -> Running:
        """Starts a program that says when it is ready."""
        return self._stack.enter_context(start(*self._inside, *command, env=self._env))

    def start_only(self, *command: str) -> Running:
        """Starts one that says it in other words."""
        return self._stack.enter_context(start_only(*self._inside, *command, env=self._env))

    def run(self, *command: str, stdin: str = "") -> Done:
        """Runs a program to its end."""
        return run(*self._inside, *command, env=self._env, stdin=stdin)

    def prints(self, *command: str, stdin: str = "") -> str:
        """What a program prints that ends well."""
        done = self.run(*command, stdin=stdin)
        assert done.status == 0, done
        return done.stdout


class Far:
    """The two hosts, what runs on the one, and the end of the tunnel on the other."""

    def __init__(self, here: Host, there: Host, line: Running, end: Running) -> None:
        self.here = here
        self.there = there
        self.line = line
        port = end.address("proxy").partition(",")[0].rpartition(":")[2]
        self.proxy = f"http://127.0.0.1:{port}"

    def psql(self, sql: str) -> str:
        """What the database answers to its user on the other host."""
        flags = ("-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", "15432", "-U", "postgres")
        return self.there.prints("psql", *flags, stdin=sql)


@pytest.fixture
def postgres() -> Iterator[tuple[str, ...]]:
    """The command that runs a fresh database server as its own user: it takes more flags."""
    found = sorted(Path(PROGRAMS).glob("*/bin/initdb"))
    if not found:
        pytest.skip("postgresql is not installed")
    as_its_user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
    folder = tempfile.mkdtemp(prefix="micro-postgres-")  # the folders of pytest are for root alone
    try:
        shutil.chown(folder, "postgres", "postgres")
        initdb = (str(found[-1]), "-D", folder, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")
        subprocess.run([*as_its_user, *initdb], check=True, capture_output=True, cwd="/", timeout=PATIENCE)
        quick = ("-c", "fsync=off", "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1")
        yield (*as_its_user, str(found[-1].with_name("postgres")), "-D", folder, *quick)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def far(require: Callable[[str], str], postgres: tuple[str, ...], tmp_path: Path) -> Iterator[Far]:
    for program in ("ip", "psql", "curl", "setpriv"):
        require(program)
    if not Path("/dev/net/tun").exists():
        pytest.skip("there is no /dev/net/tun")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "page").write_bytes(PAGE)
    with apart() as names, ExitStack() as stack:
        line = stack.enter_context(start("python", "-m", "tests.longline", *names))
        here, there = (Host(name, tmp_path / f"{name}.db", stack) for name in names)
        database = here.start_only(*postgres)
        web = here.start_only(
            sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "-d", str(tmp_path / "web"), "0"
        )
        database.wait_for("ready to accept connections")
        [port] = re.findall(r"port (\d+)", web.wait_for("Serving HTTP"))
        exposed = ("--expose", "postgres=127.0.0.1:5432", "--expose", f"web=127.0.0.1:{port}")
        server = here.start(MICRO, "tunnel", *exposed)
        here.start(sys.executable, "examples/greeter.py")
        end = there.start(MICRO, "tunnel", "--server", "10.11.12.1:8083", "--forward", "15432:postgres")
        yield Far(here, there, line, end)
        for each in (end, server):
            status, stderr = each.stop()
            assert status == 0
            assert "Traceback" not in stderr
        database.stop(signal.SIGINT)


def test_a_database_a_web_server_and_a_service_are_used_from_far_away(far: Far) -> None:
    # The line is as long as it should be.
    took = [float(far.there.prints(sys.executable, "-c", CONNECT, "10.11.12.1", "8083")) for _ in range(3)]
    assert min(took) >= 0.04

    # psql, through --forward.
    assert far.psql("SELECT 6 * 7") == "42\n"
    rows = far.psql("SELECT n, md5(n::text) FROM generate_series(1, 50000) AS n")
    assert rows == "".join(f"{n}|{hashlib.md5(str(n).encode()).hexdigest()}\n" for n in range(1, 50_001))
    text = "".join(f"{n}\t{'x' * (n % 100)}\n" for n in range(30_000))
    table = "CREATE TABLE t (n int, s text);\nCOPY t FROM STDIN;\n"
    copied = far.psql(f"{table}{text}\\.\nSELECT count(*), sum(length(s)) FROM t")
    assert copied == f"30000|{sum(n % 100 for n in range(30_000))}\n"
    assert far.psql("BEGIN; DELETE FROM t; ROLLBACK; SELECT count(*) FROM t") == "30000\n"
    with ThreadPoolExecutor(8) as pool:  # connections beside one another, and one that is slow holds up none
        answers = list(pool.map(far.psql, [f"SELECT pg_sleep({n % 2}); SELECT {n}" for n in range(8)]))
    assert answers == [f"\n{n}\n" for n in range(8)]
    beside = ("psql", "-X", "-h", "127.0.0.1", "-U", "postgres", "-Atc", "SELECT count(*) FROM t")
    assert far.here.prints(*beside) == "30000\n"

    # curl, through CONNECT on the proxy port.
    curl = ("curl", "-sS", "--max-time", "25", "-p", "-x", far.proxy)
    assert far.there.prints(*curl, "http://web/page").encode() == PAGE

    # A program with the SDK, through MICRO_PROXY.
    assert far.there.prints(sys.executable, "examples/caller.py") == "Hello John\n0\n1\n2\n"

    # And the line was as bad as it should be.
    far.line.stop()
    carried, lost = map(int, re.findall(r"\d+", far.line.stdout.splitlines()[-1]))
    assert carried > 3000
    assert 0.002 < lost / carried < 0.01
