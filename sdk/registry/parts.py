"""Parts of long records that came before the record they belong to, or before the others."""

MAX_BYTES = 16 << 20
"""What is kept, in bytes: some fifty of the longest records. The oldest go first, and can be asked for again."""


class Parts:
    """The TXT records of parts, by name."""

    def __init__(self) -> None:
        self._texts: dict[str, bytes] = {}
        self._bytes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._texts

    def __getitem__(self, name: str) -> bytes:
        return self._texts[name]

    def keep(self, name: str, text: bytes) -> None:
        """What was said last of a part counts."""
        self.drop(name)
        self._texts[name] = text
        self._bytes += len(text)
        while self._bytes > MAX_BYTES:
            self.drop(next(iter(self._texts)))

    def drop(self, name: str) -> None:
        """Forgets a part, known or not."""
        self._bytes -= len(self._texts.pop(name, b""))
