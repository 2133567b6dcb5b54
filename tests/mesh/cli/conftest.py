"""Three environments for all tests of this folder that only look: nodes a - b - c in a line, services in c."""

import signal
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import Done, Running, run, start

NODE = ("micro", "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0", "--resolver", "static")

ODD = """
    import trio
    from sdk import Service
    odd = Service("odd")

    @odd.handle("Odd.Raise")
    async def raise_(request):
        raise RuntimeError("tea\\x1b[2Jpot")

    @odd.handle("Odd.Echo")
    async def echo(request):
        return request

    @odd.handle("Odd.Metadata")
    async def metadata(request, stream):
        await stream.send(stream.metadata)

    @odd.handle("Odd.Breaks")
    async def breaks(request, stream):
        await stream.send({"n": 1})
        raise RuntimeError("broken")

    @odd.handle("Odd.Forever")
    async def forever(request, stream):
        await stream.send(1)
        await trio.sleep_forever()

    odd.run()
"""
"""A service that does what greeters do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One environment: what its programs have in their environment, and its node."""

    env: dict[str, str]
    node: Running

    def micro(self, *arguments: str) -> Done:
        """Runs the command there."""
        return run("micro", *arguments, env=self.env)

    def prints(self, *arguments: str) -> str:
        """What the command prints when all is well."""
        done = self.micro(*arguments)
        assert (done.status, done.stderr) == (0, ""), done
        return done.stdout


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """The places a, b and c."""
    folder: Path = tmp_path_factory.mktemp("line")
    places: dict[str, Place] = {}
    with ExitStack() as stack:
        for name in "bac":
            env = {"MICRO_REGISTRY_ADDRESS": str(folder / f"{name}.db"), "MICRO_NETWORK_TOKEN": "sesame"}
            seeds = ("--nodes", places["b"].node.address("link")) if places else ()
            node = stack.enter_context(start(*NODE, "--name", name, *seeds, env=env))
            places[name] = Place(env=env, node=node)
        stack.enter_context(start("python", "examples/greeter.py", env=places["c"].env))
        stack.enter_context(start("python", "-c", textwrap.dedent(ODD), env=places["c"].env))
        # Each look is a process of its own; news of a service take a few milliseconds.
        for _ in range(100):
            if places["a"].prints("network", "services") == "go.micro.network\ngreeter\nodd\n":
                break
        yield places
        for place in places.values():
            place.node.send(signal.SIGTERM)
        for place in places.values():
            status, stderr = place.node.wait()
            assert status == 0
            assert "Traceback" not in stderr
