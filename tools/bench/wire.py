"""Part `wire`: bytes per event on the serial line, beside plain formats without encryption or MACs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gatelink import cose
from tools.bench import frames, sample
from tools.bench.formats import FORMATS
from tools.bench.rows import Row, at_most
from tools.bench.sample import Sample

COUNT = 400
BATCH = 20


def _batches(samples: list[Sample], size: int) -> Iterator[list[Sample]]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def _per_event(samples: list[Sample], size: int, encode: Callable[[list[Sample]], bytes]) -> float:
    return sum(len(encode(batch)) for batch in _batches(samples, size)) / len(samples)


def run() -> list[Row]:
    """Mean bytes per event, alone and in batches of 20, for a tag's visits and a barrier's passages."""
    rows: list[Row] = []
    for name, samples in (("visit", sample.patrol(COUNT)), ("barrier", sample.barrier(COUNT))):
        keys = cose.derive(frames.LINK_KEY, samples[0].device, 0)
        single = max(len(frames.on_serial([s], keys, i)) for i, s in enumerate(samples))
        rows.append(at_most("wire", f"{name}, largest single serial frame", single, "bytes", 60))
        packed = sum(len(frames.on_serial(b, keys, 1)) for b in _batches(samples, BATCH)) / len(samples)
        rows.append(at_most("wire", f"{name}, in a batch of {BATCH}", packed, "bytes/event", 16))
        for rival, encode in FORMATS.items():
            rows.append(Row("wire", f"{name}, {rival}, alone", _per_event(samples, 1, encode), "bytes"))
            batched = _per_event(samples, BATCH, encode)
            rows.append(Row("wire", f"{name}, {rival}, batch of {BATCH}", batched, "bytes/event"))
    return rows
