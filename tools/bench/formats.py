"""The same events in formats that a user might pick instead: not encrypted, authenticated or framed."""

from __future__ import annotations

import json
from typing import Any

import cbor2
from google.protobuf import (  # type: ignore[import-untyped]  # no stubs in the locked set
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

from gatelink import events
from tools.bench.sample import Sample

_NAMES: dict[int, tuple[str, tuple[str, ...]]] = {
    events.VISIT: ("visit", ("checkpoint",)),
    events.ACCESS: ("access", ("credential", "decision", "reason", "direction")),
    events.BARRIER: ("barrier", ("state", "cause", "cycles")),
}
_NIGHT_MS = 1_775_000_000_000  # a night in 2026, unix ms: these formats carry the wall clock


def _named(sample: Sample) -> dict[str, Any]:
    kind, names = _NAMES[sample.kind]
    return {
        "device": sample.device,
        "boot": sample.boot,
        "seq": sample.seq,
        "time_ms": _NIGHT_MS + sample.uptime_cs * 10,
        "kind": kind,
        **dict(zip(names, sample.fields, strict=True)),
    }


def json_compact(samples: list[Sample]) -> bytes:
    """Compact JSON, a list when there are several; bytes as hex."""
    rows = [{k: v.hex() if isinstance(v, bytes) else v for k, v in _named(s).items()} for s in samples]
    return json.dumps(rows if len(rows) > 1 else rows[0], separators=(",", ":")).encode()


def cbor_text_keys(samples: list[Sample]) -> bytes:
    """CBOR maps with text keys, as most libraries write an object."""
    rows = [_named(s) for s in samples]
    return cbor2.dumps(rows if len(rows) > 1 else rows[0])


def senml_cbor(samples: list[Sample]) -> bytes:
    """SenML in CBOR (RFC 8428 section 6): base name, base time and sequence once, a record for each field."""
    bn, bt, n, v, t, vs, vd = -2, -3, 0, 2, 6, 3, 8
    records: list[dict[int, Any]] = []
    first = samples[0]
    base_s = (_NIGHT_MS + first.uptime_cs * 10) / 1000
    for sample in samples:
        kind, names = _NAMES[sample.kind]
        moment = round((sample.uptime_cs - first.uptime_cs) / 100, 2)
        record: dict[int, Any] = {n: "kind", vs: kind, t: moment}
        if not records:
            record = {bn: f"urn:dev:gp:{sample.device}:{sample.boot}:", bt: base_s, **record}
        records.append(record)
        records.append({n: "seq", v: sample.seq, t: moment})
        for name, value in zip(names, sample.fields, strict=True):
            records.append({n: name, (vd if isinstance(value, bytes) else v): value, t: moment})
    return cbor2.dumps(records)


def _protobuf_classes() -> tuple[Any, Any]:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="bench.proto", package="bench", syntax="proto3")
    event = file.message_type.add(name="Event")
    shapes = [("device", kinds.TYPE_FIXED32), ("boot", kinds.TYPE_UINT32), ("seq", kinds.TYPE_UINT32)]
    shapes += [("time_ms", kinds.TYPE_UINT64), ("kind", kinds.TYPE_UINT32)]
    shapes += [("checkpoint", kinds.TYPE_BYTES), ("credential", kinds.TYPE_BYTES)]
    names = ("decision", "reason", "direction", "state", "cause", "cycles")
    shapes += [(name, kinds.TYPE_UINT32) for name in names]
    for number, (name, kind) in enumerate(shapes, 1):
        event.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    batch = file.message_type.add(name="Batch")
    batch.field.add(
        name="events",
        number=1,
        type=kinds.TYPE_MESSAGE,
        type_name=".bench.Event",
        label=kinds.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles(["bench.proto"], pool)
    return found["bench.Event"], found["bench.Batch"]


def protobuf(samples: list[Sample]) -> bytes:
    """proto3: one message, or a message with the events repeated."""
    event, batch = _protobuf_classes()
    rows = [event(**(_named(s) | {"kind": s.kind})) for s in samples]
    out: bytes = (rows[0] if len(rows) == 1 else batch(events=rows)).SerializeToString()
    return out


FORMATS = {
    "compact JSON": json_compact,
    "CBOR, text keys": cbor_text_keys,
    "protobuf": protobuf,
    "SenML-CBOR": senml_cbor,
}
