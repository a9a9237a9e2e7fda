# Many forged, replayed, reflected, cross-device, old-boot, old-epoch and damaged frames against one device: 0
# effects.
import pytest

from firmware.tests.peer import DEVICE, LINK_KEY
from firmware.tests.test_uplink_hostile import busy, open_now, state
from gatelink import cose, messages

FRAMES = 100_000
KINDS = ("forged", "replayed", "reflected", "cross-device", "old boot", "old epoch", "bit-flipped", "cut")


@pytest.mark.slow
def test_100_000_frames_without_effect() -> None:
    lab = busy(77)
    rand = lab.rand
    edge = lab.edge
    # what an attacker could have recorded: commands and acknowledgements of this boot and of the one before
    old = [edge.send(open_now(lab, number)) for number in range(50)]
    lab.reboot()
    lab.up = True
    lab.run(lab.now_ms + 5000)
    assert lab.uplink.online
    new = [edge.send(open_now(lab, number)) for number in range(50)] + [edge.send(edge.ack())]
    for frame in new:
        lab.uplink.receive(frame, lab.uptime_ms())
    lab.poll()
    acted = len(lab.commands)
    fresh = [edge.send(open_now(lab, 1000 + number)) for number in range(50)]
    own = [lab.uplink._seal(messages.Result(number, 0, "")) for number in range(50)]
    nonce = lab.uplink._nonce
    others = {
        "forged": cose.derive(bytes(range(1, 33)), DEVICE, 1),
        "cross-device": cose.derive(LINK_KEY, DEVICE ^ 1, 1),
        "old epoch": cose.derive(LINK_KEY, DEVICE, 0),
    }
    before = state(lab)
    refused = sum(lab.uplink.rejects.values())
    for count in range(FRAMES):
        kind = KINDS[count % len(KINDS)]
        if kind in others:
            piv = edge.piv + rand.getrandbits(16)
            frame = cose.seal(others[kind], cose.DOWN, piv, messages.encode(open_now(lab, count)), nonce)
            if kind == "cross-device" and rand.getrandbits(1):
                # relabelled as ours
                frame = frame[:8] + DEVICE.to_bytes(4, "big") + frame[12:]
        elif kind == "replayed":
            frame = rand.choice(new)
        elif kind == "old boot":
            frame = rand.choice(old)
        elif kind == "reflected":
            frame = rand.choice(own)
        elif kind == "bit-flipped":
            damaged = bytearray(rand.choice(fresh))
            for _ in range(rand.choice((1, 1, 2, 8))):
                damaged[rand.randrange(len(damaged))] ^= 1 << rand.getrandbits(3)
            frame = bytes(damaged)
        else:
            whole = rand.choice(fresh)
            frame = whole[: rand.randrange(len(whole))] + bytes(rand.getrandbits(2))
        if frame in fresh:
            # damaged back to what it was: that one would be genuine
            frame = b""
        lab.uplink.receive(frame, lab.uptime_ms())
    assert state(lab) == before
    assert len(lab.commands) == acted
    assert sum(lab.uplink.rejects.values()) - refused == FRAMES
    # and the device still obeys its edge
    lab.uplink.receive(edge.send(open_now(lab, 5000)), lab.uptime_ms())
    assert len(lab.commands) == acted + 1
