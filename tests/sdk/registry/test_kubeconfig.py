"""Files of kubectl, put together: who says what of a name, and where the files are that they name."""

import base64
from pathlib import Path

import pytest

from sdk.errors import BadRequest
from sdk.registry.kubeconfig import Part, read_config

CLUSTERS = """
clusters:
- {name: c, cluster: {server: "http://first", certificate-authority: ca.crt}}
- {name: d, cluster: {server: "http://other"}}
"""
USERS = """
current-context: here
contexts: [{name: here, context: {cluster: c, user: u, namespace: shop}}]
clusters: [{name: c, cluster: {server: "http://second"}}]
users: [{name: u, user: {tokenFile: tokens/mine}}]
"""


def test_of_several_files_the_first_that_says_something_of_a_name_is_believed(tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "config", tmp_path / "two" / "config"
    for path, text in ((one, CLUSTERS), (two, USERS)):
        path.parent.mkdir()
        path.write_text(text)
    (one.parent / "ca.crt").write_text("pem")
    config = read_config([tmp_path / "none", one, two])
    assert (config.cluster.said["server"], config.namespace) == ("http://first", "shop")
    assert config.cluster.content("certificate-authority") == "pem"
    assert config.user.file("tokenFile") == two.parent / "tokens" / "mine"
    assert read_config([two, one]).cluster.said["server"] == "http://second"


def test_who_says_nothing_of_itself_is_nobody_in_the_default_namespace(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(USERS.replace("user: u, namespace: shop", ""))
    config = read_config([tmp_path / "config"])
    assert (config.user.said, config.namespace) == ({}, "default")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (USERS.replace("current-context: here", ""), "no current context: choose one"),
        (USERS.replace("current-context: here", "current-context: there"), "names a context that it does not have"),
        (USERS.replace("cluster: c,", "cluster: e,"), "names a cluster that it does not have"),
        (USERS.replace("user: u,", "user: v,"), "names a user that it does not have"),
        ("{", "no YAML"),
        ("7", "no kubeconfig"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(BadRequest, match=f"{tmp_path / 'config'} .*{says}"):
        read_config([tmp_path / "config"])


def test_where_there_is_no_file_at_all_the_first_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="one"):
        read_config([tmp_path / "one", tmp_path / "two"])


def test_a_file_that_is_named_and_cannot_be_read_is_told_with_who_names_it(tmp_path: Path) -> None:
    part = Part(path=tmp_path / "config", said={"client-key": "key.pem", "client-certificate-data": "cGVt"})
    assert part.content("client-certificate") == base64.b64decode("cGVt").decode() == "pem"
    assert part.content("certificate-authority") == ""
    with pytest.raises(BadRequest, match=r"config names .*key\.pem as its client-key, .*No such file"):
        part.content("client-key")
