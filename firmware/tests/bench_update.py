# What an update of the size of a real one costs, on either interpreter: 42 files, 54 KB. The manifest is not
# signed: bench_manifest.py in protocol/tests has the signature. Prints [[name, value, unit], ...] as its last
# line.
import hashlib
import json

import boot

from firmware.tests import update_device as device
from gatelink import manifest
from node import update as up
from protocol.tests.bench_manifest import ROUNDS, best, now_us, since

SIZES = [600 + 33 * i for i in range(42)]
FILES = {"part_" + str(i % 5) + "/file_" + str(i) + ".mpy": bytes([i]) * SIZES[i] for i in range(42)}


LISTED = {name: (len(data), hashlib.sha256(data).digest()) for name, data in FILES.items()}


def unsigned(signed, keys):
    yield manifest.Manifest("1.0.0", 1, 0, "patrol_tag", 6, 2000000000, LISTED)


# -> us of every handle(), us of every step()
def measure():
    manifest.verify_steps = unsigned
    update = up.Update(device.blank(), {}, "patrol_tag", 6, lambda: 0, boot.FACTORY)
    chunks = device.cut_up("manifest", bytes(2600))
    for name, data in FILES.items():
        chunks += device.cut_up(name, data)
    device.settle(update)
    handles = []
    steps = []
    for chunk in chunks:
        last = now_us()
        update.handle(*chunk)
        handles.append(since(last))
        more = True
        while more:
            last = now_us()
            more = update.step()
            steps.append(since(last))
    assert update.state == up.READY, (update.reason, update.detail, update.fault)
    return handles, steps


def main():
    rounds = [measure() for _ in range(ROUNDS)]
    handles = best([found[0] for found in rounds])
    steps = best([found[1] for found in rounds])
    prefix = "update of 42 files, "
    rows = [
        [prefix + "all calls", (sum(handles) + sum(steps)) / 1000, "ms"],
        [prefix + "longest handle()", max(handles) / 1000, "ms"],
        [prefix + "longest step()", max(steps) / 1000, "ms"],
        [prefix + "steps", len(steps), "steps"],
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
