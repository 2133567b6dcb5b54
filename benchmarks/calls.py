"""The calls that benchmarks of proxies make, by programs that others wrote in C.

    python -m benchmarks.calls http=PORT grpc=PORT     # one call each to ports of loopback, with its answer checked

HTTP/1.1 comes from wrk, gRPC from h2load with a prepared message. Neither looks into the answers; that is why one of
each is checked before a measurement, in a process of its own: grpcio has threads, which who starts processes must not.
"""

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.processes import ROOT

BODY = b"x" * 128
"""Of every request, and of its answer."""

MESSAGE = b"\0" + len(BODY).to_bytes(4, "big") + BODY
"""The body as gRPC sends it: not compressed, its length, itself."""

SERVICE = "greeter"
"""Whom the gRPC calls are for."""

WEB = "web"
"""The Host of the HTTP requests."""

PATH = f"/{SERVICE}.Greeter/Hello"
"""Of every call."""

PATIENCE = 2.0
"""Seconds that one checked call may take."""

GRACE = 30.0
"""Seconds after the end of a measurement in which the load may stop."""

SCRIPT = """
wrk.method = "POST"
wrk.body = io.open("%s", "rb"):read("*a")
wrk.headers["Host"] = "%s"
function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\n{"calls": %%d, "us": %%d, "p50": %%f, "p99": %%f, "bytes": %%d, "failed": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""
"""What wrk sends, and how it tells what it found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where one end listens on loopback."""

    http: int
    grpc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a load found."""

    calls: int
    """That were answered."""
    per_s: float
    p50_us: float
    p99_us: float


Load = Callable[[str, Path, Ports, int, int], Measured]
"""Calls, so many in flight, for so many seconds; see `load_http`."""


def check(ports: Ports, protocols: Sequence[str]) -> None:
    """One call of each protocol, of `http` and `grpc`; raises OSError when its answer is not what was sent."""
    words = [f"{each}={getattr(ports, each)}" for each in protocols]
    run([sys.executable, "-m", "benchmarks.calls", *words], PATIENCE)


def check_http(port: int) -> None:
    """One HTTP request; see `check`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.closing(connection):
        try:
            connection.request("POST", PATH, BODY, {"Host": WEB})
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"HTTP: {error!r}") from error
    if answer.status != 200 or body != BODY:
        raise OSError(f"HTTP: status {answer.status} {answer.reason}, body {body[:200]!r}")


def check_grpc(port: int) -> None:
    """One gRPC call; see `check`."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PATH)
        try:
            answer = call(BODY, timeout=PATIENCE)
        except grpc.RpcError as error:
            raise OSError(f"gRPC: {error}") from error
    if answer != BODY:
        raise OSError(f"gRPC: answered {answer!r}")


def load_http(wrk: str, folder: Path, ports: Ports, in_flight: int, seconds: int) -> Measured:
    """HTTP/1.1 requests over `in_flight` connections that are kept, one in flight on each.

    Writes its files to `folder`. Raises OSError when one failed, or none was answered.
    """
    (folder / "body").write_bytes(BODY)
    script = folder / "wrk.lua"
    script.write_text(SCRIPT % (folder / "body", WEB))
    command = [wrk, "-t1", f"-c{in_flight}", f"-d{seconds}s", "-s", str(script)]
    printed = run([*command, f"http://127.0.0.1:{ports.http}{PATH}"], seconds)
    found = json.loads(printed.splitlines()[-1])
    calls = found["calls"]
    if found["failed"] or not calls or found["bytes"] < calls * len(BODY):
        raise OSError(f"of {calls} HTTP requests {found['failed']} failed")
    return Measured(calls=calls, per_s=calls / found["us"] * 1e6, p50_us=found["p50"], p99_us=found["p99"])


def load_grpc(h2load: str, folder: Path, ports: Ports, in_flight: int, seconds: int) -> Measured:
    """Unary gRPC calls, `in_flight` at once over one connection.

    Writes its files to `folder`. Raises OSError when one failed, or none was answered.
    """
    (folder / "message").write_bytes(MESSAGE)
    log = folder / "h2load.log"
    log.unlink(missing_ok=True)
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    command = [h2load, "-c1", f"-m{in_flight}", f"-D{seconds}", "-d", str(folder / "message"), f"--log-file={log}"]
    printed = run([*command, *headers, f"http://127.0.0.1:{ports.grpc}{PATH}"], seconds)
    # Each line of the log is a call: when it began, its status, how many µs it took.
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    latencies = sorted(int(micros) for _, _, micros in lines)
    calls = len(latencies)
    if not calls or any(status != "200" for _, status, _ in lines):
        raise OSError(f"gRPC calls failed:\n{printed}")
    # A call that the mesh refused has status 200 too, with the reason in its trailers; but it carries no message.
    traffic = next(line for line in printed.splitlines() if line.startswith("traffic:"))
    carried = int(traffic.split()[-2].strip("()"))
    if carried < calls * len(MESSAGE):
        raise OSError(f"{calls} gRPC calls were answered with {carried} bytes, not {len(MESSAGE)} each")
    return Measured(
        calls=calls, per_s=calls / seconds, p50_us=latencies[calls // 2], p99_us=latencies[calls * 99 // 100]
    )


def run(command: list[str], seconds: float) -> str:
    """What the command prints; raises OSError when it fails, or goes on for GRACE after its time."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds + GRACE)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} did not stop; it printed:\n{error.stdout!r}") from error
    if done.returncode:
        raise OSError(f"{command[0]} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Checks."""
    try:
        for word in sys.argv[1:]:
            protocol, _, port = word.partition("=")
            {"http": check_http, "grpc": check_grpc}[protocol](int(port))
    except OSError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
