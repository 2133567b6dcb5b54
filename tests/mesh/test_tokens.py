from pathlib import Path

import pytest

from mesh.tokens import MAX_SHOWN, MAX_SIZE, proxy_tokens, read_tokens, to_bytes
from sdk.errors import BadRequest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.touch(mode=0o600)
    return path


def test_a_file_holds_a_token_in_each_line_but_those_that_are_empty_or_comments(file: Path) -> None:
    file.write_text("# from October on\nnew token\n\n   \n#another\nold token \t\r\nnew token\nno newline behind")
    assert read_tokens(str(file)) == ("new token", "old token", "no newline behind")


def test_a_token_of_any_bytes_is_the_same_as_in_a_variable(file: Path) -> None:
    file.write_bytes(b"\xff\xfe t\xc3\xa4\n")
    assert read_tokens(str(file)) == ("\udcff\udcfe tä",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "holds no token"),
        ("\n# nothing\n  \n", "holds no token"),
        ("one\ntwo\nthree\nfour\nfive\n", "holds 5 tokens; at most 4"),
        ("secret\n" * MAX_SIZE, f"longer than {MAX_SIZE} bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_naming_flag_variable_and_path(
    file: Path, content: str, reason: str
) -> None:
    file.write_text(content)
    with pytest.raises(BadRequest, match=reason) as caught:
        read_tokens(str(file))
    assert str(caught.value).startswith(f"--token-file (MICRO_NETWORK_TOKEN_FILE): {file} ")
    assert "three" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "fine"), [(0o400, True), (0o600, True), (0o640, True), (0o604, False), (0o644, False)]
)
def test_a_file_that_everybody_can_read_is_refused(file: Path, mode: int, fine: bool) -> None:
    file.write_text("a secret\n")
    file.chmod(mode)
    if fine:
        assert read_tokens(str(file)) == ("a secret",)
    else:
        with pytest.raises(BadRequest, match=r"every user of this machine can read .*chmod o-r"):
            read_tokens(str(file))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"^--token-file \(MICRO_NETWORK_TOKEN_FILE\): cannot read .*: No such file"):
        read_tokens(str(tmp_path / "tokens"))
    with pytest.raises(BadRequest, match=r"^--secrets: cannot read .*: Is a directory"):
        read_tokens(str(tmp_path), "--secrets")


def test_a_proxy_port_has_the_tokens_of_a_flag_or_of_a_file_or_none(file: Path) -> None:
    file.write_text("one\ntwo\n")
    assert proxy_tokens(None, "") == ()
    assert proxy_tokens("one", "") == ("one",)
    assert proxy_tokens(None, str(file)) == ("one", "two")
    assert to_bytes(("t\u00e4", "\udcff")) == (b"t\xc3\xa4", b"\xff")


@pytest.mark.parametrize(("token", "by_file"), [("", False), ("x" * (MAX_SHOWN + 1), False), ("x", True)])
def test_a_proxy_token_that_cannot_be_used_is_refused(file: Path, token: str, by_file: bool) -> None:
    with pytest.raises(BadRequest, match=r"--proxy-token \(MICRO_PROXY_TOKEN\)"):
        proxy_tokens(token, str(file) if by_file else "")
