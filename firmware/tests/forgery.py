# What an attacker on the line can make out of what he recorded, and what each of it must be refused as. For
# both directions; plain functions, also for the VM.
from gatelink import cose

HEADER = (
    "truncated",
    "trailing",
    "bad_header",
    "not_canonical",
    "too_long",
    "unknown_device",
    "not_authentic",
)
# kind -> reasons that may be counted for it
REASONS = {
    "forged": ("not_authentic",),
    "replayed": ("replayed",),
    "old boot": ("not_authentic", "replayed"),
    "old epoch": ("not_authentic",),
    "reflected": ("not_authentic",),
    "cross-device": ("not_authentic", "unknown_device"),
    "spliced": ("not_authentic",),
    "bit-flipped": HEADER,
    "truncated": HEADER,
    "noise": HEADER,
}


# recorded: kind -> frames, for the kinds that need nothing but sending; fresh: frames that would be taken, to be
# damaged; foreign: kind -> Keys, under which frames are made with plaintext(); device, direction, boot_nonce: of
# the receiver. Yields count times (kind, frame), every kind as often.
def storm(count, rand, recorded, fresh, foreign, plaintext, device, direction, boot_nonce=b""):
    kinds = sorted(list(recorded) + list(foreign) + ["spliced", "bit-flipped", "truncated", "noise"])
    genuine = set(fresh)
    top = max([cose.peek(frame)[1] for frame in fresh])
    made = 0
    while made < count:
        kind = kinds[made % len(kinds)]
        if kind in recorded:
            frame = recorded[kind][rand.randrange(len(recorded[kind]))]
        elif kind in foreign:
            piv = min(top + rand.getrandbits(20), (1 << 40) - 1)
            frame = cose.seal(foreign[kind], direction, piv, plaintext(), boot_nonce)
            if kind == "cross-device" and rand.getrandbits(1):
                # relabelled as ours
                frame = frame[:8] + device.to_bytes(4, "big") + frame[12:]
        else:
            whole = fresh[rand.randrange(len(fresh))]
            if kind == "bit-flipped":
                damaged = bytearray(whole)
                for _ in range((1, 1, 2, 8)[rand.getrandbits(2)]):
                    damaged[rand.randrange(len(damaged))] ^= 1 << rand.getrandbits(3)
                frame = bytes(damaged)
            elif kind == "truncated":
                frame = whole[: rand.randrange(len(whole))] + bytes(rand.getrandbits(2))
            elif kind == "spliced":
                # one frame's counter before another's ciphertext; the same length, so that the header fits
                piv = (cose.peek(whole)[1] + 1 + rand.getrandbits(10)) & 0xFFFFFFFFFF
                frame = whole[:14] + piv.to_bytes(5, "big") + whole[19:]
            else:
                size = rand.getrandbits(7)
                frame = bytes([rand.getrandbits(8) for _ in range(size)])
                if size & 1:
                    # behind a good header
                    frame = whole[:20] + frame
        if frame not in genuine:
            yield kind, frame
            made += 1


# found: what a receiver counted for this kind, reason -> count
def check(kind, found, sent):
    assert sum(found.values()) == sent, (kind, found, sent)
    assert set(found) <= set(REASONS[kind]), (kind, found)
