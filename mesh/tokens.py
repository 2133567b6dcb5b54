"""The file in which a network's tokens stand.

    # from October on
    correct-horse-battery-staple
    # until all nodes have the one above
    the-token-of-last-year

One token in each line; the first is the one a node dials with, every one of them lets a peer in.
"""

import os
import stat
from collections.abc import Iterable
from typing import Final

from sdk.errors import BadRequest
from tunnel.identity import MAX_TOKENS

PROXY_FILE: Final = "--proxy-token-file (MICRO_PROXY_TOKEN_FILE)"

MAX_SHOWN: Final = 1024
"""Longest proxy token, in bytes: a HELLO has room for four times as much."""

MAX_SIZE: Final = 16384
"""Longest token file, in bytes."""


def read_tokens(path: str, what: str = "--token-file (MICRO_NETWORK_TOKEN_FILE)") -> tuple[str, ...]:
    """The tokens in a file, each once.

    Raises `BadRequest`, which begins with `what` and shows nothing of the file, when it cannot be read, when every user
    of this machine can read it, and when it holds no token or more than four.
    """
    name = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IROTH:
                raise BadRequest(
                    f"{what}: every user of this machine can read {name}; take that away with `chmod o-r {name}`"
                )
            text = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise BadRequest(f"{what}: cannot read {name}: {error.strerror or error}") from None
    if len(text) > MAX_SIZE:
        raise BadRequest(f"{what}: {name} is longer than {MAX_SIZE} bytes, which is no file of tokens")
    # As Python reads the environment: a token may be any bytes, and is the same from a variable and from a file.
    lines = (line.rstrip() for line in text.decode(errors="surrogateescape").split("\n"))
    tokens = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not tokens:
        raise BadRequest(f"{what}: {name} holds no token: write one in a line of its own")
    if len(tokens) > MAX_TOKENS:
        raise BadRequest(f"{what}: {name} holds {len(tokens)} tokens; at most {MAX_TOKENS} are accepted at a time")
    return tokens


def proxy_tokens(token: str | None, file: str) -> tuple[str, ...]:
    """What programs show at a proxy port, any of these: one from a flag, or those in a file; nothing where neither is
    given.

    Raises `BadRequest`, naming flag and variable, for what `read_tokens` refuses, and for a token that is empty or
    too long.
    """
    flag, file_flag = "--proxy-token (MICRO_PROXY_TOKEN)", PROXY_FILE
    if file and token is not None:
        raise BadRequest(f"both {flag} and {file_flag} are given: leave one of them out")
    if token == "":
        raise BadRequest(f"{flag} is empty: leave it out to let in programs of this host and private networks")
    tokens = read_tokens(file, file_flag) if file else () if token is None else (token,)
    if any(len(each) > MAX_SHOWN for each in to_bytes(tokens)):
        raise BadRequest(f"{file_flag if file else flag}: a token is longer than {MAX_SHOWN} bytes")
    return tokens


def to_bytes(tokens: Iterable[str]) -> tuple[bytes, ...]:
    """Tokens as they stood in the environment or in a file."""
    return tuple(token.encode(errors="surrogateescape") for token in tokens)
