"""Connections of programs that have gone quiet."""

from proxy.quiet import SWEEP, QuietWatch
from sdk.port.http1serving import QUIET
from tests.sdk.port.test_http1serving import GET, Program, reply


def test_every_connection_is_looked_at_each_second() -> None:
    watch = QuietWatch()
    quiet, busy = Program(), Program()
    watch.ports |= {quiet.port: None, busy.port: None}
    assert watch.next_timeout() < 0
    busy.says(GET)
    now = 1000.0
    while now < 1000 + QUIET:
        assert not quiet.port.finished_writing
        watch.handle_timeout(now)
        assert watch.next_timeout() == now + SWEEP
        now += SWEEP
    watch.handle_timeout(now)
    assert quiet.port.finished_writing
    assert not busy.port.finished_writing
    del watch.ports[quiet.port]
    busy.stream.send_head(reply(), end=True)
    watch.handle_timeout(now + 1)
