# What checking a signed manifest costs, on either interpreter. Prints [[name, value, unit], ...] as its last
# line.
import json
import time
from binascii import unhexlify

from gatelink import manifest
from protocol.tests import vectors

ROUNDS = 5

try:
    now_us = time.ticks_us

    def since(begin):
        return time.ticks_diff(now_us(), begin)

except AttributeError:

    def now_us():
        return time.perf_counter_ns() // 1000

    def since(begin):
        return now_us() - begin


# Every round takes the same steps, so the best of each step over the rounds is the one that nothing
# disturbed.
def best(rounds):
    return [min(column) for column in zip(*rounds)]  # noqa: B905  # not on MicroPython


# -> us of every step
def measure(signed, keys):
    found = []
    last = now_us()
    for _ in manifest.verify_steps(signed, keys):
        found.append(since(last))
        last = now_us()
    return found


def main():
    found = vectors.load("valid/manifest")
    public = unhexlify(found["public_key"])
    keys = {manifest.kid(public): public}
    signed = [
        unhexlify(row["signed"]) for row in found["vectors"] if row["name"] in ("four files", "64 files")
    ]
    four = best([measure(signed[0], keys) for _ in range(ROUNDS)])
    many = best([measure(signed[1], keys) for _ in range(ROUNDS)])
    rows = [
        ["verify a manifest", sum(four) / 1000, "ms"],
        ["verify, steps", len(four), "steps"],
        ["verify, longest step", max(four) / 1000, "ms"],
        ["verify a manifest of 64 files", sum(many) / 1000, "ms"],
        ["verify, longest step with 64 files", max(many) / 1000, "ms"],
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
