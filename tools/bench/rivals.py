"""Part `rivals`: ingest beside mosquitto (Debian's package) and persist-queue (PyPI), fetched on demand (packages.py).

Each keeps the same events, one message an event, as durably as it can be told to; the settings stand in the rows'
names. What can't be had here is skipped, and says so.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cbor2

from tools.bench import fresh, ingest, links, packages, sample
from tools.bench.rows import Row, at_least
from tools.simulate.processes import free_port

PART = "rivals"
LINKS, WINDOW = ingest.LINKS, links.WINDOW
OURS = ((20, 320_000), (1, 64_000))  # events a frame, events in all
MQTT_EVENTS, SAVING_EVENTS, QUEUE_EVENTS = 48_000, 3_200, 2_000
FOLDER = Path("build/rivals")
DURABLE = "autosave_on_changes true\nautosave_interval 1\n"


def _payloads(count: int) -> list[bytes]:
    """Events as a CBOR array each: what a sender without our protocol would put into a message."""
    samples = sample.patrol(count)
    return [bytes(cbor2.dumps([s.device, s.boot, s.seq, s.uptime_cs, s.kind, *s.fields])) for s in samples]


# MQTT 3.1.1, as much of it as publishing at QoS 1 takes.


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128, "one length byte"
    return bytes([kind, len(body)]) + body


async def _connected(port: int, name: bytes, flags: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_packet(0x10, _text(b"MQTT") + bytes([4, flags, 0, 0]) + _text(name)))
    answer = await reader.readexactly(4)
    if answer[0] != 0x20 or answer[3]:
        raise RuntimeError(f"mosquitto refused the connection: {answer.hex()}")
    return reader, writer


async def _published(port: int, link: int, payloads: list[bytes]) -> None:
    """Returns when the broker has acknowledged all of them, WINDOW under way at a time."""
    reader, writer = await _connected(port, b"bench%d" % link, 2)
    topic = _text(b"events/%d" % link)
    sent = acked = 0
    answered = bytearray()  # PUBACKs of four bytes
    while acked < len(payloads):
        chunk = bytearray()
        while sent < len(payloads) and sent - acked < WINDOW:
            sent += 1
            chunk += _packet(0x32, topic + (sent % 65_535 + 1).to_bytes(2, "big") + payloads[sent - 1])
        writer.write(bytes(chunk))
        answered += await reader.read(4096)
        acked = len(answered) // 4
        if answered[:1] != b"\x40":
            raise RuntimeError(f"mosquitto answered {bytes(answered[-4:]).hex()}")
    writer.close()


async def _mqtt_s(port: int, count: int) -> float:
    """Seconds for `count` events from LINKS senders, kept for a subscriber that is away."""
    reader, writer = await _connected(port, b"office", 0)
    writer.write(_packet(0x82, b"\x00\x01" + _text(b"events/#") + b"\x01"))
    await reader.readexactly(5)
    writer.write(b"\xe0\x00")
    writer.close()
    payloads = _payloads(count // LINKS)
    start_s = time.perf_counter()
    await asyncio.gather(*(_published(port, link, payloads) for link in range(LINKS)))
    return time.perf_counter() - start_s


@contextmanager
def _broker(command: list[str], folder: Path, settings: str) -> Iterator[int]:
    port = free_port()
    kept = folder / "kept"
    kept.mkdir()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {kept.resolve()}/\n"
        f"max_queued_messages 0\nmax_inflight_messages 0\nuser {os.environ.get('USER', 'root')}\n{settings}"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "-c", str(config.resolve())], stdout=log, stderr=log)
    try:
        deadline_s = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError(f"mosquitto did not start: {(folder / 'log').read_text()}") from None
                time.sleep(0.05)  # asks again, until the deadline above
        yield port
    finally:
        process.kill()
        process.wait()


def _mqtt_rate(command: list[str], count: int, settings: str) -> float:
    with tempfile.TemporaryDirectory(dir=FOLDER) as name, _broker(command, Path(name), settings) as port:
        return count / asyncio.run(_mqtt_s(port, count))


def queue_rate(place: str, count: int) -> float:
    """Events/s that persist-queue's SQLiteAckQueue takes, a commit each, synchronous FULL; in its own process."""
    sys.path.insert(0, place)
    module = importlib.import_module("persistqueue")
    payloads = _payloads(count)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        queue = module.SQLiteAckQueue(name, multithreading=True)
        queue._putter.execute("PRAGMA synchronous = FULL")
        start_s = time.perf_counter()
        for payload in payloads:
            queue.put(payload)
        taken_s = time.perf_counter() - start_s
        queue.close()
    return count / taken_s


def ours(size: int, count: int) -> float:
    """Events/s of the agent, framed bytes to durable acks; in its own process."""
    scripts = [links.Script(links.FIRST_DEVICE + n, count // LINKS, size) for n in range(LINKS)]
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        return count / asyncio.run(ingest.agent_takes(Path(name), scripts)).wall_s


def run() -> list[Row]:
    """Events/s of each, all on the same disk and one after the other."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    rates = {size: fresh.call("tools.bench.rivals", "ours", size, count) for size, count in OURS}
    rows = [Row(PART, f"agent, {LINKS} links, {size} a frame", rates[size], "events/s") for size in rates]
    try:
        broker = packages.mosquitto()
    except packages.MissingError as error:
        print(f"bench: SKIPPED: {error}", file=sys.stderr, flush=True)
    else:
        for name, count, settings in (
            ("saved after every change", SAVING_EVENTS, DURABLE),
            ("saved every 30 min, its default", MQTT_EVENTS, ""),
        ):
            rate = _mqtt_rate(broker, count, settings)
            rows += _beside(rates, f"mosquitto, QoS 1, persistent session, {name}", rate, 6)
    try:
        place = packages.python_packages("persist-queue", "persist-queue", alone=True)
    except packages.MissingError as error:
        print(f"bench: SKIPPED: {error}", file=sys.stderr, flush=True)
    else:
        rate = fresh.call("tools.bench.rivals", "queue_rate", str(place), QUEUE_EVENTS)
        rows += _beside(rates, "persist-queue, SQLiteAckQueue, FULL", rate, 20)
    return rows


def _beside(rates: dict[int, float], what: str, rate: float, least: float) -> list[Row]:
    return [
        Row(PART, what, rate, "events/s"),
        at_least(PART, f"agent, 20 a frame / {what}", rates[20] / rate, "x", least),
        Row(PART, f"agent, 1 a frame / {what}", rates[1] / rate, "x"),
    ]
