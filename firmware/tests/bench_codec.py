# Runs on MicroPython: time per event of the device's side of the codec, and the heap it takes. Prints JSON.
import gc
import json
import time

from gatelink import cose, events, framing, kdf, messages

ROUNDS = 60
KEYS = cose.derive(bytes(range(32)), 0x11, 0)
EVENT_KEY = bytes(range(32, 64))
UID = b"\x04\x11\x22\x33\x44\x55\x80"


def minted(count: int) -> "tuple":
    payloads = [events.encode(events.VISIT, UID) for _ in range(count)]
    return [360000 + i * 9000 for i in range(count)], payloads


def chained(uptimes: list, payloads: list) -> bytes:
    mac8 = bytes(8)
    for i in range(len(payloads)):
        mac8 = kdf.mac8(EVENT_KEY, mac8, events.record(1200 + i, 3, uptimes[i], payloads[i]))
    return mac8


def sent(uptimes: list, payloads: list, counter: int) -> bytes:
    mac8 = chained(uptimes, payloads)
    items = events.join(uptimes, payloads)
    message = messages.Events(1200, 3, uptimes[0], items, mac8 if len(payloads) > 1 else None, 0, None)
    return framing.encode(cose.seal(KEYS, cose.UP, 3 << 16 | counter, messages.encode(message)))


def per_event_us(work: "object", count: int) -> float:
    best = None
    for _ in range(3):
        start = time.ticks_us()
        for turn in range(ROUNDS):
            work(turn)
        spent = time.ticks_diff(time.ticks_us(), start)
        best = spent if best is None or spent < best else best
    return best / ROUNDS / count


def main() -> None:
    found = []
    for count in (1, 20):
        uptimes, payloads = minted(count)
        line = sent(uptimes, payloads, 0)

        def seal(turn: int) -> None:
            sent(uptimes, payloads, turn)  # noqa: B023  called before the next turn of the loop

        def receive(_turn: int) -> None:
            frame = framing.Decoder().feed(line)[0]  # noqa: B023
            messages.decode(cose.UP, cose.open_(KEYS, cose.UP, frame)[1])

        found.append(("MAC + encode + encrypt, %d a frame" % count, per_event_us(seal, count), "µs/event"))
        found.append(("decrypt + decode, %d a frame" % count, per_event_us(receive, count), "µs/event"))
    gc.collect()
    before = gc.mem_alloc()
    uptimes, payloads = minted(20)
    sent(uptimes, payloads, 1)
    found.append(("allocated while sending a batch of 20", gc.mem_alloc() - before, "bytes"))
    print(json.dumps(found))


main()
