"""How etcd's servers are asked: users, TLS, several servers, lost connections. The servers are real ones."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError

import pytest
import trio
import trustme

from sdk.errors import Forbidden, Unauthorized, Unavailable
from sdk.registry import open_registry
from tests.sdk.registry.etcdserver import EtcdServer, b64
from tests.sdk.registry.test_registry import a, next_of

pytestmark = pytest.mark.peers


def with_users(server: EtcdServer) -> None:
    """`root` may do everything, `guest` nothing, and nobody else anything."""
    for name in ("root", "guest"):
        server.ask("/v3/auth/user/add", {"name": name, "password": "pass:word"})
        server.ask("/v3/auth/role/add", {"name": name})
        server.ask("/v3/auth/user/grant", {"user": name, "role": name})
    server.ask("/v3/auth/enable", {})


async def test_a_user_is_known_by_the_password_and_no_secret_is_told(own_etcd: EtcdServer) -> None:
    with_users(own_etcd)
    place = f"127.0.0.1:{own_etcd.port}"
    async with open_registry(f"etcd://root:pass%3Aword@{place}") as registry, registry.watch() as events:
        await registry.register(a("1"), ttl=60)
        assert await next_of(events) == ("create", "1", "80")
        assert await registry.get("greeter") == (a("1"),)
        assert registry.address == f"etcd://{place}"
    for who, kind in (("", Unauthorized), ("root:guess@", Unauthorized), ("guest:pass%3Aword@", Forbidden)):
        async with open_registry(f"etcd://{who}{place}") as registry:
            with pytest.raises(kind) as caught:
                await registry.list()
            assert f"http://{place}" in str(caught.value)
            assert ("needs a role" in str(caught.value)) is (kind is Forbidden)
            assert "guess" not in str(caught.value)
            assert "pass:" not in str(caught.value)


async def test_who_may_read_and_not_write_is_told_so_and_leaves_no_leases(own_etcd: EtcdServer) -> None:
    with_users(own_etcd)
    place = f"127.0.0.1:{own_etcd.port}"
    async with open_registry(f"etcd://root:pass%3Aword@{place}") as root:
        client = root._client  # type: ignore[attr-defined]
        reads = {"permType": "READ", "key": b64("/micro/registry/"), "range_end": b64("/micro/registry0")}
        await client.ask("/v3/auth/role/grant", {"name": "guest", "perm": reads})
        async with open_registry(f"etcd://guest:pass%3Aword@{place}") as registry:
            assert await registry.list() == ()
            with pytest.raises(Forbidden, match="and writes it to register"):
                await registry.register(a("1"), ttl=60)
        assert "leases" not in await client.ask("/v3/lease/leases", {})


async def test_a_full_etcd_says_what_frees_it_and_keeps_what_stands(
    require: Callable[[str], str], tmp_path: Path
) -> None:
    with EtcdServer(require("etcd"), tmp_path, "--quota-backend-bytes=100000") as etcd:
        async with open_registry("etcd", f"127.0.0.1:{etcd.port}") as registry:
            await registry.register(a("1"), ttl=60)
            with suppress(HTTPError):
                while True:
                    etcd.put("/other", b"x" * 50_000)
            await registry.register(a("1"), ttl=60)
            with pytest.raises(Unavailable, match=r"database space exceeded, .*etcdctl compact, defrag, alarm disarm"):
                await registry.register(a("2"), ttl=60)
            assert await registry.list() == (a("1"),)


async def test_a_token_that_has_run_out_is_asked_for_again(own_etcd: EtcdServer) -> None:
    with_users(own_etcd)
    async with open_registry(f"etcd://root:pass%3Aword@127.0.0.1:{own_etcd.port}") as registry:
        await registry.register(a("1"))
        own_etcd.kill()
        own_etcd.start()  # tokens are kept in memory
        assert await registry.get("greeter") == (a("1"),)


async def test_over_tls_each_side_shows_its_certificate(require: Callable[[str], str], tmp_path: Path) -> None:
    ca = trustme.CA()
    names = {name: str(tmp_path / name) for name in ("ca", "cert", "key", "both")}
    ca.cert_pem.write_to_path(names["ca"])
    server = ca.issue_cert("127.0.0.1", "localhost")
    server.cert_chain_pems[0].write_to_path(names["cert"])
    server.private_key_pem.write_to_path(names["key"])
    ca.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(names["both"])
    more = (f"--cert-file={names['cert']}", f"--key-file={names['key']}")
    known = (f"--trusted-ca-file={names['ca']}", "--client-cert-auth")
    with EtcdServer(require("etcd"), tmp_path, *more, *known, scheme="https") as etcd:
        url = f"etcds://127.0.0.1:{etcd.port}"
        whole = open_registry(f"{url}?ca={names['ca']}&cert={names['both']}")
        async with whole as registry, registry.watch() as events:
            await registry.register(a("1"))
            assert await next_of(events) == ("create", "1", "80")
        for query, says in (
            (f"?ca={names['ca']}", "it wants a certificate, or another .*cert=FILE and key=FILE"),
            ("", "certificate is not trusted"),
        ):
            async with open_registry(url + query) as registry:
                with pytest.raises(Unavailable, match=says):
                    await registry.list()


async def test_of_several_servers_one_that_answers_is_enough(etcd: EtcdServer) -> None:
    with trio.socket.socket() as nobody:
        await nobody.bind(("127.0.0.1", 0))
        places = f"127.0.0.1:{nobody.getsockname()[1]},127.0.0.1:{etcd.port}"
        async with open_registry("etcd", places) as registry, registry.watch() as events:
            await registry.register(a("1"))
            assert await next_of(events) == ("create", "1", "80")


async def test_a_server_that_stops_to_answer_is_left_for_another(
    own_etcd: EtcdServer, etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.registry.etcdclient.SILENCE", 0.1)
    monkeypatch.setattr("sdk.registry.etcdclient.PATIENCE", 1.0)
    # Two stores in place of two servers of one: what a watcher is told shows which of them it follows.
    etcd.put("/micro/registry/greeter/2", b'{"name":"greeter","version":"1","nodes":[{"id":"2","address":"h:80"}]}')
    places = f"127.0.0.1:{own_etcd.port},127.0.0.1:{etcd.port}"
    async with open_registry("etcd", places) as registry, registry.watch() as events:
        await registry.register(a("1"))
        assert await next_of(events) == ("create", "1", "80")
        own_etcd.hang()
        assert [await next_of(events) for _ in range(2)] == [("delete", "1", "80"), ("create", "2", "80")]
        own_etcd.resume()


async def test_a_server_that_is_no_etcd_is_named(nursery: trio.Nursery) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n404 page not found\n")

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, serve, [listener])
    async with open_registry("etcd", f"127.0.0.1:{listener.socket.getsockname()[1]}") as registry:
        with pytest.raises(Unavailable, match=r"not etcd's \(status 404\)"):
            await registry.list()


async def test_a_list_whose_revision_is_compacted_meanwhile_is_read_again(
    etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.registry.etcdclient.PAGE", 1)
    async with open_registry("etcd", f"127.0.0.1:{etcd.port}") as registry:
        await registry.register(a("1", "2"))
        client = registry._client  # type: ignore[attr-defined]
        ask, asked = client._page, 0

        async def compacting(request: dict[str, object]) -> object:
            nonlocal asked
            asked += 1
            page = await ask(request)
            if asked == 1:
                etcd.put("/other", b"")
                etcd.compact()
            return page

        monkeypatch.setattr(client, "_page", compacting)
        assert await registry.get("greeter") == (a("1", "2"),)
        assert asked == 4
