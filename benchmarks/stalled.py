"""What one consumer that has stopped costs the other streams of its link.

    python -m benchmarks.stalled [--only micro-tcp,micro-ws,ssh] [--streams 1000] [--kib 256] [--pairs 7]

Of 1,000 streams over one link one leads to a consumer that reads nothing; it is filled until it stands still. Then
the other 999 carry 256 KiB each, together. In turns with that the 999 carry the same while there is no such stream.
Printed: the throughput of both, and the ratio within each pair of runs, as medians; how many bytes the stopped stream
took, most of which wait in buffers of the kernel; and what it added to the resident memory of both ends.
"""

import argparse
import contextlib
import statistics
import tempfile
from pathlib import Path

from benchmarks import load
from benchmarks.contenders import CONTENDERS, Contender, Ports, Tunnel
from benchmarks.processes import resident
from benchmarks.tunnel import start_sink, stop_on_signals

KIB = 1 << 10


def measure(contender: Contender, sink: Ports, *, streams: int, kib: int, pairs: int) -> None:
    """Prints the figures of one contender."""
    size = (streams - 1) * kib * KIB
    without: list[float] = []
    beside: list[float] = []
    with tempfile.TemporaryDirectory(prefix="tunnel-") as folder, contextlib.ExitStack() as stack:
        tunnel = Tunnel(contender, Path(folder), sink, stack)
        ends = tunnel.near + tunnel.far
        load.bulk(tunnel.ports.bulk, size, streams - 1)  # warms up
        taken = added = 0
        for _ in range(pairs):
            without.append(size / load.bulk(tunnel.ports.bulk, size, streams - 1) / 1e6)
            before = resident(ends)
            with load.stopped(tunnel.ports.bulk) as went_in:
                taken = max(taken, went_in)
                added = max(added, resident(ends) - before)
                beside.append(size / load.bulk(tunnel.ports.bulk, size, streams - 1) / 1e6)
    ratio = statistics.median(b / a for a, b in zip(without, beside, strict=True))
    print(
        f"{contender.name:10} {statistics.median(without):8,.0f} MB/s without, {statistics.median(beside):,.0f} MB/s "
        f"beside a stopped stream: {ratio:.2f}; it took {taken / 1e6:.1f} MB and added {added / 1e6:.1f} MB of memory",
        flush=True,
    )


def main() -> None:
    """Measures and prints."""
    chosen = {each.name: each for each in CONTENDERS if each.link_carries_all}
    parser = argparse.ArgumentParser(description="what one stopped consumer costs the other streams of its link")
    parser.add_argument("--only", default="micro-tcp,micro-ws", help=f"of {','.join(chosen)}; %(default)s unless told")
    parser.add_argument("--streams", type=int, default=1000, help="the stopped one included")
    parser.add_argument("--kib", type=int, default=256, help="that each of the others carries")
    parser.add_argument("--pairs", type=int, default=7)
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := [name for name in names if name not in chosen]:
        parser.error(f"--only: {', '.join(unknown)} carries no streams over one link; {', '.join(chosen)} do")
    stop_on_signals()
    load.allow_many_files()
    with tempfile.TemporaryDirectory(prefix="tunnel-") as folder, contextlib.ExitStack() as stack:
        sink = start_sink(Path(folder), stack)
        for name in names:
            if what := chosen[name].missing():
                print(f"{name} was not measured: {what} is not installed")
            else:
                try:
                    measure(chosen[name], sink, streams=arguments.streams, kib=arguments.kib, pairs=arguments.pairs)
                except OSError as error:
                    print(f"{name:10} failed: {error}", flush=True)


if __name__ == "__main__":
    main()
