"""Log lines that nobody else can write: what callers sent may stand in a message or, above all, in a traceback."""

import logging


class Lines(logging.Formatter):
    """Begins a line for each record and none for anything in it: further lines of a message, and tracebacks, are
    indented. What a terminal would obey is written as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as lines, without the last line end."""
        first, *others = super().format(record).split("\n")
        return "\n".join((shown(first), *(f"  {shown(line)}" for line in others)))


def shown(text: str) -> str:
    """Text that moves no cursor and changes no colour: characters that do not print are written as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
