"""The file in which a network's tokens stand.

    # from October on
    correct-horse-battery-staple
    # until all nodes have the one above
    the-token-of-last-year

One token in each line; the first is the one a node dials with, every one of them lets a peer in.
"""

import os
import stat
from typing import Final

from sdk.errors import BadRequest
from tunnel.identity import MAX_TOKENS

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
