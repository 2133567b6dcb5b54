"""Credentials that a program makes, as for every cluster that somebody else runs: the `exec` of kubectl's file.

The program is run without a shell and without a terminal, when the first credentials are needed, when they have run out
and when the server refuses them. What it prints is a secret: nothing of it is ever told, and what it says of its
failures is not either, because it goes to logs from here.
"""

import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import trio

from sdk.errors import BadRequest, RemoteProtocolError, Unavailable

from .kubecredential import VERSIONS, Credential, exec_info, parse_credential_untrusted

PATIENCE: Final = 30.0
"""Seconds for one run. Those of the large clouds need one to three, and more where they renew a login of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What the kubeconfig says of the program."""

    source: str
    """The file that says so."""
    words: tuple[str, ...] = field(repr=False)
    """The program and what it is told, which may be a secret."""
    env: Mapping[str, str] = field(repr=False)
    """Added to the environment of this process."""
    version: str
    """One of `VERSIONS`."""

    @property
    def shown(self) -> str:
        """For a person."""
        return f"the program {self.words[0]} that {self.source} names for credentials"


def parse_command(
    source: str, folder: os.PathLike[str], said: Mapping[str, Any], cluster: Mapping[str, Any]
) -> Command:
    """Reads the `exec` of a user in the kubeconfig `source`, which is in `folder`.

    `cluster` is told to the program where it is to be. Raises `BadRequest` where it cannot be run here, and `KeyError`,
    `TypeError` or `ValueError` where it is not as it should be.
    """
    program, version = str(said["command"]), said.get("apiVersion")
    if os.sep in program:
        program = os.path.normpath(os.path.join(folder, program))
    shown = f"the program {program} that {source} names for credentials"
    if version not in VERSIONS:
        raise BadRequest(
            f"{shown} is of another interface than {' and '.join(VERSIONS)}: renew the file and the program"
        )
    if said.get("interactiveMode") == "Always":
        raise BadRequest(f"{shown} asks at a terminal (interactiveMode: Always), and here is none: use another account")
    if shutil.which(program) is None:
        hint = str(said.get("installHint") or "install it").strip()
        raise BadRequest(f"{shown} is not there: {hint}")
    env = {str(each["name"]): str(each["value"]) for each in said.get("env") or ()}
    info = exec_info(version, cluster if said.get("provideClusterInfo") else None)
    return Command(
        source=source,
        words=(program, *map(str, said.get("args") or ())),
        env={**env, "KUBERNETES_EXEC_INFO": info},
        version=version,
    )


class CredentialProgram:
    """Runs the command when it must, once for all who ask at a time."""

    def __init__(self, command: Command, tls: ssl.SSLContext | None) -> None:
        """`tls` is what new connections are made with: certificates that the program makes are put there."""
        self._command = command
        self._tls = tls
        self._lock = trio.Lock()
        self._made: Credential | None = None

    async def credential(self) -> Credential:
        """Those of the last run, or new ones where they have run out. Raises `Unavailable` where there are none."""
        async with self._lock:
            if self._made is None or (self._made.expires is not None and self._made.expires <= datetime.now(UTC)):
                self._made = await self._run()
            return self._made

    async def renewed(self, refused: Credential) -> bool:
        """Whether there are others than these, which were refused. Raises `Unavailable` as `credential` does."""
        async with self._lock:
            if self._made == refused:
                self._made = await self._run()
            return self._made != refused

    async def _run(self) -> Credential:
        command = self._command
        with trio.move_on_after(PATIENCE):
            try:
                done = await trio.run_process(
                    command.words,
                    env={**os.environ, **command.env},
                    capture_stdout=True,
                    stderr=subprocess.DEVNULL,
                    check=False,
                    deliver_cancel=_kill,
                )
                if done.returncode:
                    raise Unavailable(
                        f"{command.shown} ended with status {done.returncode}: try `kubectl get endpointslices` with "
                        "that file, which shows what it says"
                    )
                made = parse_credential_untrusted(done.stdout, command.version)
                if made.certificate and self._tls is not None:
                    show_certificate(self._tls, made.certificate, made.key)
            except RemoteProtocolError as error:
                raise Unavailable(f"what {command.shown} printed cannot be used: {error.detail}") from None
            except (ssl.SSLError, ValueError):
                raise Unavailable(f"{command.shown} made a certificate that cannot be used") from None
            except OSError as error:
                raise Unavailable(f"{command.shown} cannot be run: {error.strerror}") from None
            return made
        raise Unavailable(f"{command.shown} made none within {PATIENCE:g} s")


def show_certificate(tls: ssl.SSLContext, certificate: str, key: str) -> None:
    """New connections show this certificate; both are PEM. Raises `ssl.SSLError` and `ValueError` as OpenSSL does."""
    # OpenSSL reads keys from files only; this one is its owner's alone and gone at once.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{certificate}\n{key}")
        file.flush()
        tls.load_cert_chain(file.name, password="")  # none, so that nobody is asked at the terminal


async def _kill(process: trio.Process) -> None:
    """It has nothing to put away, and whoever waits no longer waits for it."""
    process.kill()
