"""The API server asked for slices: in pages, in one piece, and in bounded time."""

from pathlib import Path

import pytest

from sdk.errors import Unauthorized, Unavailable
from sdk.registry.kubeaccess import find_access
from sdk.registry.kubeclient import PAGE, Expired, KubeClient
from tests.sdk.registry.kubeserver import KubeServer, slice_of


@pytest.fixture
def client(kube: KubeServer, tmp_path: Path) -> KubeClient:
    return KubeClient(find_access(str(tmp_path / "config")), "shop", "team=a")


async def test_a_selector_goes_with_every_question(kube: KubeServer, client: KubeClient) -> None:
    async with client:
        version, _ = await client.everything()
        async with client.changes(version):
            pass
    assert [asked.query["labelSelector"] for asked in kube.asked] == ["kubernetes.io/service-name,team=a"] * 2
    assert kube.asked[0].query["limit"] == str(PAGE)


async def test_a_list_that_grows_too_old_while_it_is_read_is_read_all_at_once(
    kube: KubeServer, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.registry.kubeclient.PAGE", 2)
    for number in range(5):
        item = slice_of(f"s{number}", str(number))
        item["metadata"]["labels"]["team"] = "a"
        kube.put(item)
    kube.page_tokens_expire = 1
    async with client:
        version, slices = await client.everything()
    assert (version, len(slices)) == ("105", 5)
    assert [asked.query.get("limit") for asked in kube.asked] == ["2", "2", None]


async def test_a_list_without_an_end_is_given_up(
    kube: KubeServer, client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.registry.kubeclient.LISTING", 0.1)
    kube.pages_repeat = True
    async with client:
        with pytest.raises(Unavailable, match=r"did not end within 0\.1 s"):
            await client.everything()


async def test_a_version_that_is_no_longer_kept_is_told_apart(kube: KubeServer, client: KubeClient) -> None:
    kube.compact()
    async with client:
        with pytest.raises(Expired):
            async with client.changes("100"):
                pytest.fail("it is not kept")


async def test_who_is_not_known_is_told_whose_credentials_they_were(
    kube: KubeServer, client: KubeClient, tmp_path: Path
) -> None:
    kube.token = "an0ther"
    async with client:
        with pytest.raises(Unauthorized, match=f"the token or certificate of {tmp_path / 'config'}"):
            await client.everything()
