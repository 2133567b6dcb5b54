import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.contenders import Ports
from benchmarks.tunnel import start_sink


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Ports]:
    with contextlib.ExitStack() as stack:
        yield start_sink(tmp_path, stack)


def test_what_is_idle_or_stopped_leaves_the_sink_to_the_others(sink: Ports) -> None:
    with load.idle(sink.echo, 100), load.stopped(sink.bulk) as taken:
        assert taken > 0
        assert load.bulk(sink.bulk, 1 << 20, 10) > 0
        count, _ = load.connections(sink.echo, 4, 10.0, 50)
        assert count == 50
    assert load.bulk(sink.bulk, 1 << 20, 1) > 0
