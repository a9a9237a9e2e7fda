"""Uploads in columns and compressed: the same events as in plain rows, and nothing that grows beyond the limit."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import cbor2
import pytest

from edge_agent.store.events import Row
from edge_agent.sync import columns, wire
from tools.office.batch import MAX_BODY, decode
from tools.office.errors import RequestError
from tools.office.tests.makers import Device, body
from tools.office.tests.process import Server, batches, configure, minted, running, upload_headers
from tools.office.web.body import unzip


def log_rows(rows: list[list[Any]], start: int = 1) -> list[Row]:
    """Rows as an edge's log holds them."""
    return [Row(start + index, *row[1:9], 1, *row[9:]) for index, row in enumerate(rows)]


def packed(rows: list[list[Any]]) -> bytes:
    """As an edge sends it, before compression."""
    return wire.encode("lakeside", "pi-1", "normal", log_rows(rows), {}, wire.COLUMNS)


@pytest.fixture(scope="module")
def device() -> Device:
    made = Device(101)
    made.work(200)
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, device: Device) -> Iterator[Server]:
    with running(configure(tmp_path_factory.mktemp("packed"), [device])) as found:
        yield found


def test_columns_are_the_same_batch_as_rows(device: Device) -> None:
    for size in (1, 7, 20):
        rows = [*device.rows(1, 200, size), device.proof(200)]
        assert decode(packed(rows), "lakeside", 5) == decode(body(rows), "lakeside", 5)


def test_broken_columns_name_their_field(device: Device) -> None:
    good = cbor2.loads(packed(device.rows(1, 40)))
    found: list[list[Any]] = good["columns"]

    def refused(changed: Any) -> str:
        with pytest.raises(RequestError) as caught:
            decode(cbor2.dumps({**good, "columns": changed}), "lakeside", 1)
        return caught.value.field

    assert refused({}) == refused(found[:-1]) == refused([*found, []]) == "columns"
    for at, name in enumerate(columns.NAMES):
        shorter = [column[:-1] if index == at else column for index, column in enumerate(found)]
        assert refused(shorter) == ("columns.device" if at == 0 else f"columns.{name}")
        if name in columns.NUMBERS:
            for wrong in ("1", None, True, 1.5, b""):
                changed = [[wrong, *c[1:]] if index == at else c for index, c in enumerate(found)]
                assert refused(changed) == f"columns.{name}"
        huge = [[(1 << 64) - 1, *c[1:]] if index == at else c for index, c in enumerate(found)]
        assert refused(huge).startswith("rows[0]."), name


def test_mutated_columns_are_refused_or_a_batch(device: Device) -> None:
    raw = packed(device.rows(1, 60, 3))
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    fields = []
    for _ in range(3_000):
        mutated = bytearray(raw)
        for _ in range(rng.randrange(1, 4)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        try:
            decode(bytes(mutated), "lakeside", 1)
        except RequestError as error:
            fields.append(error.field)
    assert len(fields) > 1_000
    assert all(fields)


def test_a_real_server_takes_it_compressed(server: Server, device: Device) -> None:
    raw = packed(device.rows(1, 200, 1))
    sent = wire.compress(raw)
    headers = {**upload_headers("lakeside"), "Content-Encoding": "gzip"}
    status, _, answer = server.ask("POST", batches("lakeside"), sent, headers)
    assert status == 200, answer
    assert json.loads(answer)["devices"]["101"] == {"complete_to": 200, "missing": []}
    assert server.checked(101, 200)["verified_to"] == 200
    assert server.history(101) == minted(device)


def test_what_is_no_gzip_or_too_much_of_it_is_refused(server: Server, device: Device) -> None:
    raw = packed(device.rows(1, 20))
    good = wire.compress(raw)
    bomb = gzip.compress(bytes(64 << 20))
    assert len(bomb) < 100_000
    for sent, coding, status, field in (
        (bomb, "gzip", 413, "body"), (good[:-5], "gzip", 400, "body"), (good + b"x", "gzip", 400, "body"),
        (good + good, "gzip", 400, "body"), (raw, "gzip", 400, "body"), (b"", "gzip", 400, "body"),
        (zlib.compress(raw), "gzip", 400, "body"), (good, "br", 415, "content-encoding"),
        (good, "identity", 400, "body"), (good, "gzip, gzip", 415, "content-encoding"),
    ):  # fmt: skip
        headers = {**upload_headers("lakeside"), "Content-Encoding": coding}
        found, _, answer = server.ask("POST", batches("lakeside"), sent, headers)
        assert (found, json.loads(answer)["error"]["field"]) == (status, field), (sent[:20], coding)


def test_a_bomb_is_not_unpacked_beyond_the_limit() -> None:
    bomb = gzip.compress(bytes(200 << 20))
    tracemalloc.start()
    with pytest.raises(RequestError, match="at most"):
        unzip(bomb, MAX_BODY, "")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MAX_BODY
    assert len(unzip(gzip.compress(bytes(MAX_BODY)), MAX_BODY, "")) == MAX_BODY
