import logging
from collections.abc import Iterator

import pytest

from tests.tunnel.bench import TOKEN, Log
from tests.tunnel.meeting import SOON
from tunnel import noise, reach, tunnel


@pytest.fixture
def soon_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let keys last for a few records only, as a `foreign_link` with the limits SOON expects."""
    records, size = SOON
    monkeypatch.setattr(noise, "REKEY_RECORDS", records)
    monkeypatch.setattr(noise, "REKEY_BYTES", size)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handshakes have the time that they need on a machine whose processes wait for their turn."""
    for module in (reach, tunnel):
        monkeypatch.setattr(module, "HANDSHAKE", 60.0)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    """The warnings of a test; in what is logged at any level no secret may be."""
    caplog.set_level(logging.DEBUG)
    log = Log()
    logging.getLogger("tunnel").addHandler(log)
    yield log
    logging.getLogger("tunnel").removeHandler(log)
    assert TOKEN not in caplog.text
    assert "other token" not in caplog.text
    assert "Traceback" not in caplog.text
