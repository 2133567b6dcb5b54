"""What a registry is known by and what it is shown over TLS, as it stands in files that others replace.

Certificates that machines hand out are good for hours or days and are written anew beside the running program. They are
looked at before each request, as etcd's own client does it for each connection (`GetClientCertificate` of Go's TLS).
"""

import logging
import os
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from sdk.errors import BadRequest

logger = logging.getLogger(__name__)

_Stamp = tuple[int, int, int, int] | None


class Certificates:
    """Calling it gives the context that a connection is made with; the same one until a file changes."""

    def __init__(self, make: Callable[[], ssl.SSLContext], files: Sequence[str | Path | None]) -> None:
        """`make` reads the files, of which those that are not named count for nothing. What it raises now comes out of
        here."""
        self._make = make
        self._files = tuple(file for file in files if file)
        self._stamps = self._refused = self._look()
        self._context = make()

    def __call__(self) -> ssl.SSLContext:
        """As the files are now; where they cannot be used, as they were: half of them may be written."""
        stamps = self._look()
        if stamps != self._stamps:
            try:
                self._context, self._stamps = self._make(), stamps
            except (BadRequest, OSError, ValueError) as error:
                if stamps != self._refused:
                    self._refused = stamps
                    logger.warning(
                        "%s cannot be used as they are now, what stood there before is still in use: %s",
                        ", ".join(map(str, self._files)),
                        error,
                    )
        return self._context

    def _look(self) -> tuple[_Stamp, ...]:
        return tuple(map(_stamp, self._files))


def _stamp(file: str | Path) -> _Stamp:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
