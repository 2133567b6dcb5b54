import logging
from collections.abc import Iterator

import pytest

from tests.tunnel.bench import TOKEN, Log
from tests.tunnel.meeting import RENEW_BYTES, RENEW_RECORDS
from tunnel import noise


@pytest.fixture
def soon_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let keys last for a few records only, as `foreign_link` expects."""
    monkeypatch.setattr(noise, "REKEY_RECORDS", RENEW_RECORDS)
    monkeypatch.setattr(noise, "REKEY_BYTES", RENEW_BYTES)


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
