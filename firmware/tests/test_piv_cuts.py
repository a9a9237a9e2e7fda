# No partial IV is used twice, wherever power fails around the boot counter and however often the device sleeps:
# whole nodes, every frame they send is kept. Plain functions: they also run on the real VM.
import sys

from firmware.tests import host_asyncio  # noqa: F401  # gives asyncio its device parts on CPython
from firmware.tests.nor import Nor, PowerCut, seeded
from firmware.tests.peer import DEVICE, EVENT_KEY, LINK_KEY
from firmware.tests.test_rekey import CutNvs
from gatelink import cose, events, messages
from node.errors import NotProvisioned
from node.keystore import KeyStore
from node.node import Node

LIVES = 300 if sys.implementation.name == "micropython" else 12000


class Uart:
    pass


# Many lives of one device. A life ends by a cut in the middle of an NVS operation, by a cut between two, or by
# deep sleep, from which a device wakes like from power on.
class Lives:
    def __init__(self, at_once, seed=5):
        self.nvs = CutNvs(at_once, dev=DEVICE, link=LINK_KEY, event=EVENT_KEY, epoch=1, boot=0)
        self.nor = Nor(2)
        self.rand = seeded(seed)
        self.now_ms = 0
        self.used = set()
        self.highest = -1
        self.cuts = 0
        self.sleeps = 0
        self.silent = 0

    def node(self):
        return Node(
            Uart(),
            self.nor,
            self.nvs,
            messages.TAG_ROLE,
            "test",
            ticks_ms=lambda: self.now_ms & 0x3FFFFFFF,
            reset=None,
            cause=1,
            random_bytes=lambda count: bytes(self.rand.getrandbits(8) for _ in range(count)),
        )

    # What leaves the device: its counter was never used before, and its boot was durable before.
    def sent(self, frames):
        for frame in frames:
            piv = cose.peek(frame)[1]
            assert piv not in self.used, "a partial IV twice"
            assert piv > self.highest
            assert self.nvs.reopen().values["boot"] >= piv >> 16, "boot was not durable before it was used"
            self.used.add(piv)
            self.highest = piv

    def live(self):
        rand = self.rand
        self.nvs = self.nvs.reopen()
        before = len(self.used)
        if rand.getrandbits(2):
            self.nvs.cut_at(1 + rand.randrange(6), bool(rand.getrandbits(1)))
        try:
            node = self.node()
            if not rand.getrandbits(3):
                # the frames of a long boot, all but the last few
                node.uplink._keystore._counter = 0xFFFF - rand.getrandbits(1)
            for _ in range(1 + rand.getrandbits(2)):
                # light sleep in between: time passes, nothing else
                self.now_ms += 1 + rand.getrandbits(13)
                self.sent(node.uplink.poll(node.clock.uptime_ms()))
            # the edge has taken what is there: a full journal is another matter
            node.journal.trim(node.journal.next_seq - 1)
            node.record(events.VISIT, b"\x01\x02\x03\x04")
            self.sleeps += 1
        except PowerCut:
            self.cuts += 1
            self.silent += len(self.used) == before


def lives(at_once):
    found = Lives(at_once)
    for _ in range(LIVES // 2):
        found.live()
    return found


def test_no_partial_iv_twice():
    cuts = 0
    for at_once in (False, True):
        found = lives(at_once)
        assert found.cuts > LIVES // 8
        assert found.sleeps > LIVES // 10
        assert found.silent > LIVES // 20
        assert len(found.used) > LIVES // 3
        cuts += found.cuts
    assert cuts > LIVES // 4


# Whatever of the namespace is gone, nothing is encrypted with a default, nothing is sent and nothing recorded;
# the journal stays as it is, and with the same keys put back the device goes on.
def test_an_erased_nvs_fails_closed():
    found = Lives(False)
    for _ in range(3):
        found.live()
    kept = dict(found.nvs.reopen().values)
    journal = bytes(found.nor.data)
    wear = list(found.nor.wear)
    for gone in (
        ("dev", "link", "event", "epoch", "boot"),
        ("dev",),
        ("link",),
        ("event",),
        ("epoch",),
        ("boot",),
    ):
        found.nvs = CutNvs(False, **{key: value for key, value in kept.items() if key not in gone})
        missing = ""
        try:
            found.node()
        except NotProvisioned as problem:
            missing = str(problem)
        assert missing in gone
        assert bytes(found.nor.data) == journal
        assert found.nor.wear == wear
        assert found.nvs.ops == 0
    # put back by a technician: the counter was read out or set far ahead, never back
    kept["boot"] += 1000
    found.nvs = CutNvs(False, **kept)
    node = found.node()
    found.sent(node.uplink.poll(1))
    assert events.decode(node.journal.read(node.journal.next_seq - 1).payload)[0] == events.BOOT


def test_deep_sleep_is_a_boot():
    found = Lives(True)
    node = found.node()
    found.sent(node.uplink.poll(0))
    found.nvs = found.nvs.reopen()
    woken = found.node()
    assert woken.boot == node.boot + 1
    assert woken.uplink._nonce != node.uplink._nonce
    found.sent(woken.uplink.poll(0))
    assert KeyStore(found.nvs).next_boot() == node.boot + 2
