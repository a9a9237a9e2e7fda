"""How fast batches go in, beside what SQLite alone takes: python -m tools.office.tests.speed [batches]"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from tools.office.batch import decode
from tools.office.chain import Chain
from tools.office.store.sqlite import _ADD_EVENT, SqliteStore, _prepare
from tools.office.tests.makers import Device, Row, body
from tools.office.tests.process import batches, configure, running, upload_headers

DEVICES = 8
RUNS = 250  # runs of 20 in a batch: 5,000 events; an edge sends at most batch_rows, 4,000 rows by default


class Watch:
    """Sums up times by name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - begin


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    devices = [Device(101 + number) for number in range(DEVICES)]
    for device in devices:
        device.work(count * RUNS * 20 // DEVICES)
    rows: list[Row] = [row for runs in zip(*(d.rows(1, len(d.journal)) for d in devices), strict=True) for row in runs]
    bodies = [body(rows[at : at + RUNS], start=at + 1) for at in range(0, len(rows), RUNS)]
    total = sum(row[4] - row[3] + 1 for row in rows)
    print(f"{total:,} events in {len(bodies)} batches, {sum(map(len, bodies)) / total:.1f} bytes an event")
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        alone = apsw.Connection(str(Path(folder) / "alone.db"))
        _prepare(alone)
        for raw in bodies:
            events = [event for run in decode(raw, "lakeside", 1).runs for event in run.events]
            with watch("SQLite alone"), alone:
                alone.executemany(_ADD_EVENT, events)
        alone.close()
        store = SqliteStore(Path(folder) / "store")
        key = store.site_key("lakeside")
        for raw in bodies:
            with watch("decode"):
                batch = decode(raw, "lakeside", key)
            with watch("take"):
                store.take(batch, 0)
            with watch("chain check"):
                for device in devices:
                    while store.check(key, device.device, Chain(device.key), 0, 2_000):
                        pass
        store.close()
        with running(configure(Path(folder) / "server", devices)) as server:
            line = server.connect()
            with watch("over HTTP, one at a time"):
                for raw in bodies:
                    line.request("POST", batches("lakeside"), raw, upload_headers("lakeside"))
                    assert line.getresponse().read().startswith(b'{"v":1')
            with watch("chain checked after the last receipt"):
                server.checked(101, len(devices[0].journal))
            line.close()
    base = watch.spent["SQLite alone"]
    for name, spent in watch.spent.items():
        print(f"{name:38} {spent / total * 1e6:6.2f} us/event {total / spent:10,.0f} events/s {base / spent:5.2f}x")


if __name__ == "__main__":
    main()
