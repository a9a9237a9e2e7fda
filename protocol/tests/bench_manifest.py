# What checking a signed manifest costs, on either interpreter. Prints [[name, value, unit], ...] as its last
# line.
import json
import time
from binascii import unhexlify

from gatelink import manifest
from protocol.tests import vectors

ROUNDS = 5

try:
    _us = time.ticks_us

    def since(begin):
        return time.ticks_diff(_us(), begin)

except AttributeError:

    def _us():
        return time.perf_counter_ns() // 1000

    def since(begin):
        return _us() - begin


# -> (us in all, steps, us of the longest step), each the best of the rounds
def best(signed, keys):
    return [min(column) for column in zip(*[measure(signed, keys) for _ in range(ROUNDS)])]  # noqa: B905  # not on MicroPython


def measure(signed, keys):
    begin = last = _us()
    steps = longest = 0
    for _ in manifest.verify_steps(signed, keys):
        longest = max(longest, since(last))
        last = _us()
        steps += 1
    return since(begin), steps, longest


def main():
    found = vectors.load("valid/manifest")
    public = unhexlify(found["public_key"])
    keys = {manifest.kid(public): public}
    signed = [
        unhexlify(row["signed"]) for row in found["vectors"] if row["name"] in ("four files", "64 files")
    ]
    four = best(signed[0], keys)
    many = best(signed[1], keys)
    rows = [
        ["verify a manifest", four[0] / 1000, "ms"],
        ["verify, steps", four[1], "steps"],
        ["verify, longest step", four[2] / 1000, "ms"],
        ["verify a manifest of 64 files", many[0] / 1000, "ms"],
        ["verify, longest step with 64 files", many[2] / 1000, "ms"],
    ]
    print(json.dumps(rows))


main()
