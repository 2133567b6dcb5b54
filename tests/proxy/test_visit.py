"""What is known of a connection, told in its own words."""

from pathlib import Path

from proxy.termination import ProgramTls, Termination
from proxy.visit import Visit

from .raw import connected
from .test_termination import config


async def test_inside_tls_its_next_bytes_are_those_of_tls_and_its_urls_are_https(tmp_path: Path) -> None:
    near, far = await connected()
    async with near, far:
        tls = ProgramTls(near, Termination(config(tmp_path)).context, b"")
        plain, secure = (Visit(socket=near, due=1.0, tls=each) for each in (None, tls))
        assert (plain.transport, plain.scheme) == (near, "http")
        assert (secure.transport, secure.scheme) == (tls, "https")
        assert plain.host == secure.host == "127.0.0.1"
        assert plain.name == f"program {near.peer}"


async def test_a_token_is_not_in_its_repr() -> None:
    near, far = await connected()
    async with near, far:
        assert "secret" not in repr(Visit(socket=near, due=1.0, token=b"secret"))
