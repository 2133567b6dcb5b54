import pytest

from tests.tunnel.meeting import RENEW_BYTES, RENEW_RECORDS
from tunnel import noise


@pytest.fixture
def soon_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let keys last for a few records only, as `foreign_link` expects."""
    monkeypatch.setattr(noise, "REKEY_RECORDS", RENEW_RECORDS)
    monkeypatch.setattr(noise, "REKEY_BYTES", RENEW_BYTES)
