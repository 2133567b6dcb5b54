"""Two clouds on one machine: a node in each, a service in one, a caller in the other.

Run it: python examples/two_clouds.py. `make demo` shows three, and what the nodes know.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MICRO = Path(sys.executable).with_name("micro")


def start(cloud, *command):
    """Starts a program in a cloud; returns it, and its `ready` line."""
    program = subprocess.Popen(command, env={**os.environ, **cloud}, stderr=subprocess.PIPE, text=True)
    assert program.stderr is not None
    lines = iter(program.stderr.readline, "")
    return program, next(line for line in lines if line.startswith("ready"))


def main():
    with tempfile.TemporaryDirectory() as folder:
        token = secrets.token_hex()  # who has it may join
        clouds = [
            {"MICRO_NETWORK_TOKEN": token, "MICRO_REGISTRY": "sqlite", "MICRO_REGISTRY_ADDRESS": f"{folder}/{name}.db"}
            for name in ("one", "other")
        ]
        one, other = clouds
        node = (MICRO, "network", "--address=127.0.0.1:0", "--proxy-address=127.0.0.1:0")
        programs = []
        try:
            program, line = start(one, *node, "--name=one")
            programs.append(program)
            link = dict(word.split("=", 1) for word in line.split() if "=" in word)["link"]
            program, _ = start(one, sys.executable, HERE / "greeter.py")
            programs.append(program)
            program, _ = start(other, *node, "--name=other", f"--nodes={link}")
            programs.append(program)
            caller = {**os.environ, **other, "MICRO_PROXY": "go.micro.network"}
            done = subprocess.run([sys.executable, HERE / "caller.py"], env=caller, check=False)
            return done.returncode
        finally:
            for program in reversed(programs):
                program.terminate()
            for program in programs:
                program.communicate(timeout=40)


if __name__ == "__main__":
    sys.exit(main())
