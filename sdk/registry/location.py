"""Where the registry's file stands when nobody says, and who may own the place.

The temporary directory is everybody's: another user of the host may have made our directory there first, to read our
records or feed us theirs. tmux guards its sockets the same way.
"""

import os
import stat
import tempfile
from pathlib import Path

from sdk.errors import Forbidden


def default_path() -> Path:
    """`$XDG_RUNTIME_DIR/micro/registry.db`, or without such a directory of ours `<tmp>/micro-<uid>/registry.db`.

    Makes the directory, for its owner alone. Raises `Forbidden` when it is somebody else's, `OSError` when it cannot be
    made.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # After `su` and `sudo` the variable may still name the other user's.
    if os.path.isabs(runtime) and os.path.isdir(runtime) and os.stat(runtime).st_uid == os.geteuid():
        return _make_private(Path(runtime, "micro")) / "registry.db"
    return _make_private(Path(tempfile.gettempdir(), f"micro-{os.geteuid()}")) / "registry.db"


def _make_private(directory: Path) -> Path:
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        found = directory.lstat()  # a link would show somebody else's choice of a place
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise Forbidden(
                f"{directory} is not a directory that only this user writes to: remove it, or name another place "
                "for the registry with --registry-address (MICRO_REGISTRY_ADDRESS)"
            ) from None
    return directory
