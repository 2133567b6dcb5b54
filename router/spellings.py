"""Names of services by what they are in lower case: the name of a host means the same in whatever case (RFC 4343)."""

from collections.abc import Iterable


class Spellings:
    """Those names of some that have capitals in them; all others are found as they are."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._by_lower: dict[str, set[str]] = {}
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Takes a name in."""
        lower = name.lower()
        if lower != name:
            self._by_lower.setdefault(lower, set()).add(name)

    def discard(self, name: str) -> None:
        """Takes a name out, if it is there."""
        lower = name.lower()
        names = self._by_lower.get(lower)
        if names is not None:
            names.discard(name)
            if not names:
                del self._by_lower[lower]

    def of(self, lower: str) -> list[str]:
        """All that are this in lower case, sorted: so every node prefers the same."""
        return sorted(self._by_lower.get(lower, ()))
