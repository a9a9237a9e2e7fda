# Two-phase rotation of the link key on the device: whatever is lost and wherever power fails, both sides end
# on one key. Plain functions: they also run on the real VM. (edge_agent/tests/test_rotation.py does the same
# with the real edge at the other end.)
import sys

from firmware.tests.nor import Nvs, PowerCut
from firmware.tests.peer import DEVICE, EVENT_KEY, LINK_KEY, Edge, Lab
from gatelink import cose, messages
from gatelink.errors import AuthError
from node.clock import Clock
from node.errors import NotProvisioned
from node.journal import Journal
from node.keystore import KeyStore
from node.uplink import Uplink

NEW_KEY = bytes(range(100, 132))
BOARD = sys.implementation.name == "micropython"


# An NVS whose power fails at its nth operation. At once: every call is durable by itself, as ESP-IDF does it;
# else commit() makes all of them durable.
class CutNvs(Nvs):
    def __init__(self, at_once=False, **values):
        super().__init__(**values)
        self.at_once = at_once
        self.ops = 0
        self.cut_op = 0
        self.cut_after = False

    def cut_at(self, op, after):
        self.ops = 0
        self.cut_op = op
        self.cut_after = after

    def _op(self, durable, call, *args):
        self.ops += 1
        cut = self.ops == self.cut_op
        if cut and not self.cut_after:
            raise PowerCut("nvs")
        call(*args)
        if durable:
            super().commit()
        if cut:
            raise PowerCut("nvs")

    def set_i32(self, key, value):
        self._op(self.at_once, super().set_i32, key, value)

    def set_blob(self, key, value):
        self._op(self.at_once, super().set_blob, key, value)

    def erase_key(self, key):
        self._op(self.at_once, super().erase_key, key)

    def commit(self):
        self._op(True, lambda: None)

    def reopen(self):
        return CutNvs(self.at_once, **{key: value for key, value in self.values.items() if value is not None})


# The edge of the lab with a pending key: what Session does, without a store.
class RekeyEdge(Edge):
    def __init__(self):
        super().__init__()
        self.next = None
        self.sent_rekeys = 0

    def rotate(self, link_key=NEW_KEY):
        self.next_key = link_key
        self.next = cose.derive(link_key, DEVICE, self.keys.epoch + 1)

    def rekey(self):
        body = messages.encode_rekey(self.next.epoch, self.next_key)
        self.sent_rekeys += 1
        return self.send(messages.Config(messages.REKEY, 900 + self.sent_rekeys, len(body), 0, body))

    def receive(self, frame, now_ms):
        if self.next:
            try:
                cose.open_(self.next, cose.UP, frame)
            except AuthError:
                pass
            else:
                self.keys = self.next
                self.next = None
                self.window = cose.ReplayWindow()
        before = self.frames
        answers = super().receive(frame, now_ms)
        if self.next and self.nonce and self.frames > before:
            answers.append(self.rekey())
        return answers


class RotatingLab(Lab):
    def __init__(self, seed, at_once=False, **more):
        self.nvs = CutNvs(at_once, dev=DEVICE, link=LINK_KEY, event=EVENT_KEY, epoch=1, boot=0)
        self.pivs = set()
        self.keys_known = ((LINK_KEY, 1), (NEW_KEY, 2))
        self.posted = 0
        self.lose = ()
        super().__init__(seed, delay_ms=(10, 10), **more)
        self.edge = RekeyEdge()

    def reboot(self):
        self.nvs = self.nvs.reopen()
        self.keys = KeyStore(self.nvs)
        self.queue = []
        self.booted_ms = self.now_ms
        self.clock = Clock(lambda: self.now_ms & 0x3FFFFFFF)
        self.journal = Journal(self.nor, EVENT_KEY, self.marks)
        self.journal.mount()
        self.boot = self.keys.next_boot()
        self.uplink = Uplink(
            self.journal,
            self.clock,
            self.keys,
            self.boot,
            bytes(self.rand.getrandbits(8) for _ in range(8)),
            messages.TAG_ROLE,
            "test",
            self.command,
            lambda: self.rand.getrandbits(8),
            lambda: 3900,
        )

    # Every frame of the device is looked at: no counter twice under one key, the one or the other.
    def post(self, to_edge, frame, certain=False):
        if to_edge:
            epoch = 0
            for number, (link_key, of_epoch) in enumerate(self.keys_known):
                try:
                    cose.open_(cose.derive(link_key, DEVICE, of_epoch), cose.UP, frame)
                    epoch = number + 1
                except AuthError:
                    pass
            assert epoch, "a frame under neither key"
            use = (epoch, cose.peek(frame)[1])
            assert use not in self.pivs, "a counter twice"
            self.pivs.add(use)
        self.posted += 1
        if self.posted not in self.lose:
            super().post(to_edge, frame, certain)

    # Runs on through power cuts.
    def live(self, until_ms, done):
        while not done() and self.now_ms < until_ms:
            try:
                self.run(until_ms, done)
            except PowerCut:
                self.restart()

    def restart(self):
        running = False
        while not running:
            try:
                self.reboot()
                running = True
            except PowerCut:
                # reboot() reopens it
                pass

    def one_key(self):
        store = KeyStore(self.nvs.reopen())
        same = store.keys.up_key == self.edge.keys.up_key
        return self.uplink.online and not self.edge.next and not self.keys.other and not store.other and same


# One rotation with faults; returns how many NVS operations and frames it took.
def rotate(seed=1, at_once=False, cut=(0, False), lose=()):
    lab = RotatingLab(seed, at_once)
    for _ in range(3):
        lab.record()
    lab.run(3000)
    assert lab.uplink.online
    assert lab.settled()
    lab.nvs.cut_at(*cut)
    lab.posted = 0
    lab.lose = lose
    lab.edge.rotate()
    lab.record()
    start_ms = lab.now_ms
    lab.live(start_ms + 400_000, lambda: lab.one_key() and lab.settled())
    where = (at_once, cut, lose)
    assert lab.one_key(), where
    assert lab.keys.epoch == 2, where
    assert lab.keys.keys.up_key == cose.derive(NEW_KEY, DEVICE, 2).up_key
    took = (lab.nvs.ops, lab.posted)
    lab.lose = ()
    # the old key is forgotten on both sides and the session works
    assert "link" not in lab.nvs.reopen().values or cut[0]
    lab.record()
    order = messages.Command(5, messages.OPEN, lab.uptime_ms() + 1000, None)
    old = cose.seal(
        cose.derive(LINK_KEY, DEVICE, 1), cose.DOWN, 1 << 30, messages.encode(order), lab.uplink._nonce
    )
    acted = len(lab.commands)
    lab.uplink.receive(old, lab.uptime_ms())
    assert len(lab.commands) == acted
    lab.uplink.receive(lab.edge.send(order), lab.uptime_ms())
    assert len(lab.commands) == acted + 1
    lab.run(lab.now_ms + 5000, lab.settled)
    assert lab.settled()
    lab.check()
    return took


def test_a_rotation():
    for at_once in (False, True):
        ops, frames = rotate(at_once=at_once)
        assert ops == 8
        assert 6 <= frames <= 14


def test_power_fails_at_every_write():
    for at_once in (False, True):
        for op in range(1, 9):
            for after in (False, True):
                rotate(at_once=at_once, cut=(op, after))


def test_every_message_is_lost():
    for first in range(1, 15):
        rotate(lose=(first,))
        rotate(lose=(first, first + 1))
        rotate(lose=range(first, first + 6))


def test_every_write_and_every_message():
    if BOARD:
        # on the host only: 2,000 rotations
        return
    for at_once in (False, True):
        for op in range(1, 11):
            for after in (False, True):
                for first in range(1, 13):
                    rotate(at_once=at_once, cut=(op, after), lose=(first,))
                    rotate(at_once=at_once, cut=(op, after), lose=range(first, first + 5))
                    for second in range(first + 2, 13, 5):
                        rotate(at_once=at_once, cut=(op, after), lose=(first, second))


def test_an_edge_that_forgot_its_pending_key():
    # lost its store before the device spoke the new epoch: both go on with the old one, then rotate again
    lab = RotatingLab(3)
    lab.run(3000)
    lab.edge.rotate(bytes(range(7, 39)))
    lab.uplink.receive(lab.edge.rekey(), lab.uptime_ms())
    assert lab.uplink._rekey.due
    lab.edge.next = None
    lab.keys_known = ((LINK_KEY, 1), (bytes(range(7, 39)), 2), (NEW_KEY, 2))
    lab.run(lab.now_ms + 200_000, lambda: lab.uplink.online and not lab.keys.trying)
    assert lab.uplink.online
    assert lab.keys.epoch == 1
    lab.edge.rotate()
    lab.record()
    lab.run(lab.now_ms + 200_000, lambda: lab.one_key())
    assert lab.keys.epoch == 2
    assert KeyStore(lab.nvs.reopen()).keys.up_key == cose.derive(NEW_KEY, DEVICE, 2).up_key


# Frames under the pending key that are no WELCOME, and REKEYs that must not be taken.
def test_what_is_no_rotation():
    lab = RotatingLab(4)
    lab.run(3000)
    edge = lab.edge
    before = dict(lab.nvs.values)

    def config(epoch, key=NEW_KEY, cut=0, offset=0, kind=messages.REKEY):
        body = messages.encode_rekey(epoch, key)
        chunk = body[offset : len(body) - cut]
        lab.uplink.receive(edge.send(messages.Config(kind, 5, len(body), offset, chunk)), lab.uptime_ms())
        return lab.uplink._answers.pop()

    for epoch in (1, 3, 65535):
        assert config(epoch).code == messages.REFUSED
    assert config(2, cut=1).code == messages.REFUSED
    assert config(2, offset=1).code == messages.REFUSED
    assert config(2, kind=7).code == messages.NOT_YET
    for body in (b"\x80", b"\x82\x02\x40", b"\x82\x02\x58\x20" + bytes(32)):
        lab.uplink.receive(edge.send(messages.Config(messages.REKEY, 6, len(body), 0, body)), lab.uptime_ms())
        assert lab.uplink._answers.pop().code == messages.REFUSED
    assert lab.nvs.values == before
    assert not lab.nvs.pending
    assert not lab.uplink._rekey.due
    assert config(2).code == messages.DONE
    stored = dict(lab.nvs.values)
    edge.keys = cose.derive(NEW_KEY, DEVICE, 2)
    order = messages.Command(5, messages.OPEN, lab.uptime_ms() + 1000, None)
    for message in (order, messages.Ack(0, [], None), messages.Config(messages.REKEY, 7, 38, 0, bytes(38))):
        lab.uplink.receive(edge.send(message), lab.uptime_ms())
    assert lab.uplink.rejects == {"no_session": 3}
    assert lab.commands == []
    assert lab.nvs.values == stored


def test_generations_in_nvs():
    values = {"dev": 7, "link": LINK_KEY, "event": EVENT_KEY, "epoch": 3, "boot": 9}
    store = KeyStore(Nvs(**values))
    store.store_next(4, NEW_KEY)
    # a pending key is none of the next epoch but one
    nvs = Nvs(**store._nvs.values)
    assert KeyStore(nvs).other.epoch == 4
    nvs.values["epoch"] = 5
    assert KeyStore(nvs).other is None
    # provisioned anew over USB: the new key counts, whatever was rotated before
    store.switch()
    store.commit_next()
    assert KeyStore(store._nvs.reopen()).epoch == 4
    again = dict(store._nvs.reopen().values)
    again["link"] = bytes(range(50, 82))
    again["epoch"] = 1
    found = KeyStore(Nvs(**again))
    assert found.epoch == 1
    assert found.keys.up_key == cose.derive(bytes(range(50, 82)), 7, 1).up_key
    # a second rotation follows the first
    store = KeyStore(store._nvs.reopen())
    store.store_next(5, LINK_KEY)
    store.switch()
    store.commit_next()
    assert KeyStore(store._nvs.reopen()).epoch == 5
    # what is damaged fails closed
    for size in (0, 41, 43):
        damaged = dict(store._nvs.reopen().values)
        damaged["cur"] = bytes(size)
        try:
            KeyStore(Nvs(**damaged))
        except NotProvisioned:
            continue
        raise AssertionError(size)
