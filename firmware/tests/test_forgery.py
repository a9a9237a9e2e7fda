# A storm of frames that must have no effect on a device, and commands that come too late. Plain functions: they
# also run on the real VM; test_uplink_forged.py runs them longer.
import sys

from firmware.tests.forgery import check, storm
from firmware.tests.nor import seeded
from firmware.tests.peer import DEVICE, LINK_KEY
from firmware.tests.test_rekey import NEW_KEY, RotatingLab
from gatelink import cose, messages

BOARD = sys.implementation.name == "micropython"
OTHER_KEY = bytes(range(1, 33))


# Everything on a device that a frame could change.
def digest(lab):
    uplink = lab.uplink
    journal = lab.journal
    store = lab.keys
    flights = [(one.first, one.last, one.sent_ms, one.due_ms, one.tries) for one in uplink._flights]
    return (
        flights,
        (uplink.online, uplink._cursor, uplink._down_piv, uplink._silence, uplink._window, uplink._rekey.due),
        (list(uplink._answers), list(uplink._results), list(lab.commands), uplink._hello_due_ms),
        (lab.clock.anchor, journal.acked_seq, journal.next_seq, journal.chain(), bytes(lab.nor.data)),
        (
            dict(lab.nvs.values),
            dict(lab.nvs.pending),
            store.keys.epoch,
            store.trying,
            store._boot,
            store._counter,
        ),
        uplink.next_wake_ms(lab.uptime_ms()),
    )


def open_now(lab, cmd_id=1):
    return messages.Command(cmd_id, messages.OPEN, lab.uptime_ms() + 1500, None)


# A device in its second epoch and third boot, events under way, and what was on the line before.
def busy(seed, pending):
    lab = RotatingLab(seed)
    edge = lab.edge
    for _ in range(5):
        lab.record()
    lab.run(3000)
    epoch_1 = [edge.send(open_now(lab, number)) for number in range(30)]
    edge.rotate()
    lab.record()
    lab.run(lab.now_ms + 100_000, lambda: lab.one_key() and lab.settled())
    assert lab.keys.epoch == 2
    boot_1 = [edge.send(open_now(lab, number)) for number in range(30)]
    lab.reboot()
    lab.run(lab.now_ms + 5000)
    assert lab.uplink.online
    lab.up = False
    for _ in range(5):
        lab.record()
    lab.poll()
    lab.queue = []
    if pending:
        # the key of epoch 3 was stored, and the device says hello under it: both keys are tried on each frame
        lab.keys.store_next(3, OTHER_KEY)
        lab.uplink._rekey.begin()
        lab.uplink._leave(lab.uptime_ms())
        lab.uplink.poll(lab.uptime_ms())
    taken = [edge.send(open_now(lab, number)) for number in range(30)] + [edge.send(edge.ack())]
    for frame in taken:
        lab.uplink.receive(frame, lab.uptime_ms())
    lab.uplink._answers.clear()
    return lab, {
        "old epoch": epoch_1,
        "old boot": boot_1,
        "replayed": taken,
        "reflected": [lab.uplink._seal(messages.Result(number, 0, "")) for number in range(30)],
    }


# count frames -> kind -> reason -> how many
def run_storm(count, seed, pending):
    lab, recorded = busy(seed, pending)
    edge = lab.edge
    rand = seeded(seed)
    nonce = lab.uplink._nonce
    fresh = [edge.send(open_now(lab, 1000 + number)) for number in range(50)]
    foreign = {
        "forged": cose.derive(bytes(range(3, 35)), DEVICE, 2),
        "cross-device": cose.derive(NEW_KEY, DEVICE ^ 1, 2),
    }
    before = digest(lab)
    acted = len(lab.commands)
    rejects = lab.uplink.rejects
    found = {}
    sent = {}
    numbers = iter(range(10_000, 10_000_000))
    make = lambda: messages.encode(open_now(lab, next(numbers)))  # noqa: E731
    for kind, frame in storm(count, rand, recorded, fresh, foreign, make, DEVICE, cose.DOWN, nonce):
        old = dict(rejects)
        lab.uplink.receive(frame, lab.uptime_ms())
        counted = found.setdefault(kind, {})
        for reason in rejects:
            if rejects[reason] != old.get(reason, 0):
                counted[reason] = counted.get(reason, 0) + rejects[reason] - old.get(reason, 0)
        sent[kind] = sent.get(kind, 0) + 1
    assert digest(lab) == before
    assert len(lab.commands) == acted
    for kind, number in sent.items():
        check(kind, found[kind], number)
    assert sum(sent.values()) == count
    # and the device still obeys its edge
    lab.uplink.receive(edge.send(open_now(lab, 5000)), lab.uptime_ms())
    assert len(lab.commands) == acted + 1
    return found


# Authentic commands, held back by somebody on the line: acted on until the deadline, never after it.
def late_commands(count, seed):
    lab, _ = busy(seed, False)
    rand = seeded(seed)
    acted = stale = 0
    for number in range(count):
        action = (messages.OPEN, messages.CLOSE, messages.STOP, messages.BEEP)[rand.getrandbits(2)]
        longest = 60_000 if action == messages.BEEP else 2000
        order = messages.Command(number, action, lab.uptime_ms() + 1 + rand.randrange(longest), None)
        frame = lab.edge.send(order)
        delay = 1 << rand.getrandbits(5)
        lab.now_ms += min(delay, 40_000_000)
        late = lab.uptime_ms() > order.deadline_ms
        before = len(lab.commands)
        lab.uplink.receive(frame, lab.uptime_ms())
        result = lab.uplink._answers.pop()
        lab.uplink._answers.clear()
        assert (len(lab.commands) == before) == late, (order, lab.uptime_ms())
        assert (result.code == messages.STALE) == late
        stale += late
        acted += not late
    assert stale > count // 10
    assert acted > count // 10
    return stale


def test_storm():
    found = run_storm(1500 if BOARD else 5000, 1, False)
    assert set(found) == {
        "forged", "replayed", "old boot", "old epoch", "reflected", "cross-device", "spliced", "bit-flipped",
        "truncated", "noise",
    }  # fmt: skip


def test_storm_while_a_key_is_pending():
    run_storm(800 if BOARD else 3000, 2, True)


def test_late_commands():
    assert late_commands(300 if BOARD else 2000, 3) > 50


# A REKEY that is recorded and sent again, now or in a later boot or epoch, changes no key.
def test_a_recorded_rekey():
    lab = RotatingLab(9)
    lab.run(3000)
    lab.edge.rotate()
    frames = [lab.edge.rekey() for _ in range(3)]
    lab.uplink.receive(frames[0], lab.uptime_ms())
    lab.run(lab.now_ms + 100_000, lab.one_key)
    assert lab.keys.epoch == 2
    values = dict(lab.nvs.values)
    for frame in frames:
        lab.uplink.receive(frame, lab.uptime_ms())
    assert lab.nvs.values == values
    lab.reboot()
    boot = dict(lab.nvs.values)
    for frame in frames:
        lab.uplink.receive(frame, lab.uptime_ms())
    assert lab.nvs.values == boot
    assert lab.keys.other is None
    assert lab.uplink.rejects == {"not_authentic": 3}
    assert LINK_KEY not in lab.nvs.values.values()
