import logging
import ssl
from pathlib import Path
from shutil import copyfile

import pytest
import trio
from trio.testing import MockClock

from mesh.config import NodeConfig, PublicAddress
from mesh.reload import refuse_public, warn_of_default
from sdk.errors import BadRequest, MicroError
from sdk.netaddress import split_address
from tests.mesh.network import until, world
from tests.tunnel.transport.certificates import believing, files
from tunnel.identity import DEFAULT_TOKEN, network_key
from tunnel.transport.tls import TlsConfig

OLD, NEW = "the old secret", "the new secret"


@pytest.fixture(autouse=True)
def known(caplog: pytest.LogCaptureFixture) -> None:
    """Keys are found before, for no clock shall jump meanwhile."""
    for token in (OLD, NEW):
        network_key(token, "go.micro")
    caplog.set_level(logging.INFO)


def tokens(path: Path, *tokens: str) -> str:
    path.touch(mode=0o600)
    path.write_text("".join(f"{token}\n" for token in tokens))
    return str(path)


async def test_tokens_are_changed_one_node_after_the_other_and_no_link_is_dropped(
    tmp_path: Path, fast_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with world() as all_:
        a, b, c = [await all_.open(name) for name in "abc"]
        files = {place.name: tmp_path / place.name for place in (a, b, c)}
        running = await a.start(token_file=tokens(files["a"], OLD))
        await b.start(token_file=tokens(files["b"], OLD), nodes=("mem://a",))

        async def linked() -> bool:
            return len((await b.ask("Network.Links"))["links"]) == 1

        await until(linked, within=5)
        [link] = running.node._reload._tunnel.links.values()
        # Both first take the new one as well, then dial with it, then give up the old one.
        for now in ((OLD, NEW), (NEW, OLD), (NEW,)):
            for place in (a, b):
                tokens(files[place.name], *now)
                assert await place.ask("Network.Reload") == {"tokens": len(now)}
        await trio.sleep(30)
        assert list(running.node._reload._tunnel.links.values()) == [link]

        await c.start(token_file=tokens(files["c"], OLD), nodes=("mem://a",))

        async def refused() -> bool:
            [seed] = (await c.ask("Network.Status"))["seeds"]
            return bool(seed["error"] == "token or network name differs")

        await until(refused, within=5)
        tokens(files["c"], NEW)
        assert await c.ask("Network.Reload") == {"tokens": 1}

        async def let_in() -> bool:
            return len(running.node._reload._tunnel.links) == 2

        await until(let_in, within=40)
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"), [("", "holds no token"), ("1\n2\n3\n4\n5\n", "at most 4"), (None, "No such file")]
)
async def test_a_bad_file_keeps_the_tokens_and_the_log_and_the_answer_say_so(
    tmp_path: Path, fast_clock: MockClock, caplog: pytest.LogCaptureFixture, content: str | None, reason: str
) -> None:
    async with world() as all_:
        a, b = await all_.open("a"), await all_.open("b")
        path = tmp_path / "tokens"
        running = await a.start(token_file=tokens(path, OLD))
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        with pytest.raises(MicroError, match=reason):
            await a.ask("Network.Reload")
        assert "nothing was reloaded, all stays as it was: --token-file (MICRO_NETWORK_TOKEN_FILE)" in caplog.text
        await b.start(token=OLD, nodes=("mem://a",))

        async def let_in() -> bool:
            return bool(running.node._reload._tunnel.links)

        await until(let_in, within=5)


def certificate_of(address: str) -> str:
    """What an end shows whoever connects by TLS."""
    host, port = split_address(address)
    return ssl.get_server_certificate((host, port))


async def test_a_renewed_certificate_is_shown_to_who_comes_next_and_links_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tls, other = files(tmp_path), tmp_path / "other"
    other.mkdir()
    renewed = files(other)
    async with world() as all_:
        a, b = await all_.open("a"), await all_.open("b")
        running = await a.start(token=OLD, tls=tls, address="127.0.0.1:0")
        [address] = running.ready.link
        await b.start(token=OLD, tls=believing(tmp_path), nodes=(f"wss://{address}/link",))
        links = running.node._reload._tunnel.links

        async def linked() -> bool:
            return bool(links)

        await until(linked, within=20)
        [link] = links.values()
        before = await trio.to_thread.run_sync(certificate_of, address)
        copyfile(renewed.cert, tls.cert)
        with pytest.raises(MicroError, match="does not belong to the certificate"):
            await a.ask("Network.Reload")  # the renewal is half done
        assert await trio.to_thread.run_sync(certificate_of, address) == before
        copyfile(renewed.key, tls.key)
        assert await a.ask("Network.Reload") == {"tls": [tls.cert, tls.key]}
        after = await trio.to_thread.run_sync(certificate_of, address)
        assert after != before
        assert f"reloaded: certificates and keys are those in {tls.cert}, {tls.key}" in caplog.text
        assert list(links.values()) == [link]


async def test_a_ca_that_was_changed_is_believed_by_who_dials(tmp_path: Path) -> None:
    async with world() as all_:
        a, b = await all_.open("a"), await all_.open("b")
        running = await a.start(token=OLD, tls=files(tmp_path), address="127.0.0.1:0")
        believed = tmp_path / "believed.pem"
        copyfile(believing(tmp_path, "another").ca, believed)
        seed = f"wss://{running.ready.link[0]}/link"
        await b.start(token=OLD, tls=TlsConfig(ca=str(believed)), nodes=(seed,))

        async def refused() -> bool:
            return "certificate" in (await b.ask("Network.Status"))["seeds"][0]["error"]

        async def linked() -> bool:
            return bool(running.node._reload._tunnel.links)

        await until(refused, within=20)
        copyfile(believing(tmp_path).ca, believed)
        assert await b.ask("Network.Reload") == {"tls": [str(believed)]}
        await until(linked, within=20)


async def test_one_bad_file_keeps_what_stands_in_the_others_from_counting(
    tmp_path: Path, fast_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    file, shown, tls = tmp_path / "tokens", tmp_path / "proxy", files(tmp_path)
    async with world() as all_:
        a = await all_.open("a")
        running = await a.start(
            token_file=tokens(file, OLD), proxy_tokens=(OLD,), proxy_token_file=tokens(shown, OLD), tls=tls
        )
        doorkeeper = running.node._listener._doorkeeper
        for path in (file, shown):
            tokens(path, NEW)
        copyfile(tls.key, tmp_path / "good")
        copyfile(tls.cert, tls.key)
        with pytest.raises(MicroError, match=r"--tls-key \(MICRO_TLS_KEY\)"):
            await a.ask("Network.Reload")
        assert doorkeeper.trusts("10.0.0.1", OLD.encode())
        assert not doorkeeper.trusts("10.0.0.1", NEW.encode())
        copyfile(tmp_path / "good", tls.key)
        reply = await a.ask("Network.Reload")
        assert (reply["tokens"], reply["proxy_tokens"], len(reply["tls"])) == (1, 1, 2)
        assert not doorkeeper.trusts("10.0.0.1", OLD.encode())
        assert doorkeeper.trusts("10.0.0.1", NEW.encode())
        assert (
            "reloaded: the number of tokens accepted is 1; the number of proxy tokens accepted is 1; certificates and "
            "keys are those in /"
        ) in caplog.text


async def test_without_a_file_there_is_nothing_to_reload(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("a")
        await a.start(token=OLD)
        with pytest.raises(BadRequest, match="there is nothing to reload: this node was started without --token-file"):
            await a.ask("Network.Reload")


async def test_the_rule_of_the_default_token_follows_the_tokens_in_use(
    tmp_path: Path, fast_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with world() as all_:
        a = await all_.open("a")
        path = tmp_path / "tokens"
        node = (await a.start(token_file=tokens(path, OLD))).node
        assert not node._reload._tunnel._private_only
        tokens(path, OLD, DEFAULT_TOKEN)
        assert NodeConfig(token_file=str(path)).default_token
        await a.ask("Network.Reload")
        assert node._reload._tunnel._private_only
        assert "only loopback and private peers are let in" in caplog.text
        tokens(path, NEW)
        await a.ask("Network.Reload")
        assert not node._reload._tunnel._private_only


def test_the_default_token_is_not_taken_where_everybody_can_come(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PublicAddress, match=r"8\.8\.8\.8:8085"):
        refuse_public([OLD, DEFAULT_TOKEN], ["127.0.0.1:1", "8.8.8.8:8085"])
    refuse_public([OLD, NEW], ["8.8.8.8:8085"])
    refuse_public([DEFAULT_TOKEN], ["mem://a", "10.0.0.1:8085", "[::]:8085"])
    caplog.clear()
    warn_of_default([OLD, NEW])
    assert not caplog.records
