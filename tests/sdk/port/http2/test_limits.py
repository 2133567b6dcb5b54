"""The patience that nuisances use up, and that comes back with time."""

import pytest

from sdk.port.http2.limits import MAX_NUISANCES, NUISANCES_PER_SECOND, Patience
from sdk.wire.http2 import ConnectionFault, ErrorCode


def test_nuisances_are_borne_up_to_a_number_and_then_at_a_rate() -> None:
    patience = Patience()
    for _ in range(MAX_NUISANCES):
        patience.lose(50.0, "knock")
    with pytest.raises(ConnectionFault, match="knock") as raised:
        patience.lose(50.0, "knock")
    assert raised.value.error == ErrorCode.ENHANCE_YOUR_CALM
    for _ in range(int(NUISANCES_PER_SECOND)):
        patience.lose(51.0, "knock")
    with pytest.raises(ConnectionFault):
        patience.lose(51.0, "knock")


def test_patience_does_not_grow_beyond_what_it_was() -> None:
    patience = Patience()
    patience.lose(1e9, "knock")
    for _ in range(MAX_NUISANCES - 1):
        patience.lose(1e9, "knock")
    with pytest.raises(ConnectionFault):
        patience.lose(1e9, "knock")


def test_a_nuisance_may_weigh_as_much_as_several() -> None:
    patience = Patience()
    patience.lose(0.0, "knock", MAX_NUISANCES)
    with pytest.raises(ConnectionFault):
        patience.lose(0.0, "knock")
