"""Debian's avahi-daemon on a host of the tests, with a message bus of its own, and its programs."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUS = """<busconfig><type>system</type><listen>unix:path={place}/bus</listen><policy context="default">
<allow user="*"/><allow own="*"/><allow send_destination="*"/><allow send_type="method_call"/>
<allow send_type="signal"/><allow receive_type="method_call"/><allow receive_type="method_return"/>
<allow receive_type="error"/><allow receive_type="signal"/>
</policy></busconfig>
"""
AVAHI = """[server]
use-ipv6=no
[publish]
publish-workstation=no
"""
# avahi-daemon has one place for its files on a host; mounts of `unshare -m` end with the shell.
START = """
mkdir -p /run/avahi-daemon && mount -t tmpfs none /run/avahi-daemon
dbus-daemon --config-file="$0/bus.conf" --nofork --nopidfile --print-address=1 & bus=$!
while [ ! -S "$0/bus" ]; do sleep 0.05; done
avahi-daemon -f "$0/avahi.conf" --no-drop-root --no-chroot 2>&1 & daemon=$!
trap "kill $daemon $bus" TERM
wait
wait
"""


class Avahi:
    """It runs."""

    def __init__(self, host: str, place: Path) -> None:
        self._inside = ["ip", "netns", "exec", host]
        self._env = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={place}/bus"}
        (place / "bus.conf").write_text(BUS.format(place=place))
        (place / "avahi.conf").write_text(AVAHI)
        self._process = subprocess.Popen(
            [*self._inside, "unshare", "-m", "sh", "-c", START, str(place)],
            env=self._env, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        """Raises `AssertionError` where it ends instead."""
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "Server startup complete" in line:
                return
        raise AssertionError("".join(said))

    def browse(self, kind: str) -> list[list[str]]:
        """What it resolves of a service type now: each instance as `avahi-browse --parsable` shows it, a list of
        fields of which the fourth is its name, the seventh its host, and then address, port and TXT record."""
        command = [*self._inside, "avahi-browse", "--resolve", "--parsable", "--terminate", "--no-db-lookup", kind]
        done = subprocess.run(command, env=self._env, check=True, capture_output=True, text=True, timeout=60)
        return [line.split(";") for line in done.stdout.splitlines() if line.startswith("=")]

    @contextmanager
    def publishing(self, name: str, kind: str, port: int) -> Iterator[str]:
        """Offers an instance; what was said until it was established."""
        command = [*self._inside, "avahi-publish", "--service", name, kind, str(port), "is=not ours"]
        with subprocess.Popen(command, env=self._env, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                said = ""
                while "Established" not in said:
                    said += (line := process.stderr.readline())
                    assert line, said
                yield said
            finally:
                process.terminate()

    def stop(self) -> None:
        """It and its bus."""
        self._process.terminate()
        self._process.communicate(timeout=30)


@contextmanager
def avahi(host: str, place: Path) -> Iterator[Avahi]:
    """Runs one in a network namespace; its files are in `place`."""
    made = Avahi(host, place)
    try:
        made.wait_until_ready()
        yield made
    finally:
        made.stop()
