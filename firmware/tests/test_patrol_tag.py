# The tag's judgement and what the guard is told, with a journal that can be full.
from drivers import faults
from drivers.history import newest_first

from gatelink import events as ev
from node.errors import FlashError, JournalFull
from patrol_tag.shift import Shift
from patrol_tag.sos import RETRY_MS, Sos
from patrol_tag.tag import Tag

STAFF = b"\x0a\x00\x00\x01"
RELIEF = b"\x0a\x00\x00\x02"
FIRE = b"\x0b\x00\x00\x01"
GATE = b"\x04\x00\x00\x00\x00\x00\x01"
ROOF = b"\x04\x00\x00\x00\x00\x00\x02"
STRANGER = b"\x00\x00\x00\x01"


def new_shift(checkpoints=(GATE, ROOF)):
    return Shift([STAFF, RELIEF], [FIRE], list(checkpoints), 20000)


def tap(shift, uid, now_ms):
    found, pattern = shift.judge(uid, now_ms)
    for event in found:
        ev.encode(*event)
        shift.taken(event)
    if found:
        shift.done(uid, now_ms)
    return found, pattern


def test_one_shift():
    shift = new_shift()
    assert tap(shift, GATE, 0) == ([(ev.VISIT, GATE)], "no_shift")
    assert tap(shift, STAFF, 30000) == ([(ev.SHIFT_START, STAFF)], "shift_start")
    assert tap(shift, FIRE, 60000) == ([(ev.INCIDENT, FIRE, None)], "incident")
    assert tap(shift, GATE, 90000) == ([(ev.VISIT, GATE)], "taken")
    assert tap(shift, ROOF, 91000) == ([(ev.VISIT, ROOF)], "taken")
    assert tap(shift, FIRE, 120000) == ([(ev.INCIDENT, FIRE, ROOF)], "incident")
    assert tap(shift, STRANGER, 150000) == ([(ev.UNKNOWN_CARD, STRANGER)], "unknown")
    assert tap(shift, STAFF, 180000) == ([(ev.SHIFT_END, STAFF)], "shift_end")
    assert shift.guard is None


def test_the_relief_takes_over():
    shift = new_shift()
    tap(shift, STAFF, 0)
    assert tap(shift, RELIEF, 30000) == ([(ev.SHIFT_END, STAFF), (ev.SHIFT_START, RELIEF)], "shift_start")
    assert shift.guard == RELIEF


def test_a_card_is_taken_once():
    shift = new_shift()
    assert tap(shift, STAFF, 0)[1] == "shift_start"
    # held too long: the shift does not end again
    assert tap(shift, STAFF, 300) == ([], "again")
    assert tap(shift, STAFF, 19999) == ([], "again")
    assert tap(shift, GATE, 20000)[1] == "taken"
    assert tap(shift, GATE, 39999) == ([], "again")
    assert tap(shift, GATE, 40000)[1] == "taken"
    # another card in between makes it a new visit
    assert tap(shift, ROOF, 41000)[1] == "taken"
    assert tap(shift, GATE, 42000)[1] == "taken"


def test_without_a_list_every_card_is_a_checkpoint():
    shift = new_shift(())
    assert tap(shift, STRANGER, 0) == ([(ev.VISIT, STRANGER)], "no_shift")
    assert tap(shift, STAFF, 1) == ([(ev.SHIFT_START, STAFF)], "shift_start")


def test_leading_zeros_tell_cards_apart():
    shift = Shift([], [], [b"\x00\x00\x00\x01"], 20000)
    assert tap(shift, b"\x00\x00\x00\x01", 0)[0] == [(ev.VISIT, b"\x00\x00\x00\x01")]
    assert tap(shift, b"\x00\x00\x00\x00\x00\x00\x01", 1)[1] == "unknown"


def test_the_shift_goes_on_after_a_restart():
    shift = new_shift()
    shift.restore(
        [
            [ev.BOOT, 1, "x"],
            [ev.VISIT, ROOF],
            [ev.VISIT, GATE],
            [ev.SHIFT_START, STAFF],
            [ev.SHIFT_END, RELIEF],
        ]
    )
    assert shift.guard == STAFF
    assert shift.checkpoint == ROOF
    assert tap(shift, STAFF, 0)[1] == "shift_end"
    shift = new_shift()
    shift.restore([[ev.HEARTBEAT, None], [ev.SHIFT_END, STAFF], [ev.SHIFT_START, STAFF]])
    assert shift.guard is None
    new_shift().restore([])


class FakeSlot:
    def __init__(self, payload):
        self.payload = payload


class FakeJournal:
    def __init__(self, payloads):
        self.payloads = payloads
        self.next_seq = len(payloads) + 1

    def read(self, seq):
        payload = self.payloads[seq - 1]
        return payload and FakeSlot(payload)


def test_history_skips_what_it_cannot_read():
    journal = FakeJournal(
        [ev.encode(ev.VISIT, GATE), None, b"\x81\x18\xc8", b"\xff", ev.encode(ev.VISIT, ROOF), None]
    )
    assert list(newest_first(journal, 512)) == [[ev.VISIT, ROOF], [ev.VISIT, GATE]]
    assert list(newest_first(journal, 3)) == [[ev.VISIT, ROOF]]
    assert list(newest_first(FakeJournal([]), 3)) == []


def test_sos_must_be_held():
    sos = Sos(500, 10000)
    sos.button(True, 1000)
    sos.button(False, 1400)
    assert not sos.due(2000)
    assert sos.next_wake_ms() == -1
    sos.button(True, 3000)
    assert not sos.due(3499)
    assert sos.due(3500)
    sos.stored(3500)
    assert not sos.due(99999)
    # the same call
    sos.button(False, 4000)
    sos.button(True, 5000)
    assert sos.next_wake_ms() == -1
    # the next one
    sos.button(False, 5100)
    sos.button(True, 14000)
    assert sos.due(14500)


def test_sos_released_late_is_still_a_call():
    sos = Sos(500, 10000)
    sos.button(True, 1000)
    sos.button(False, 1700)
    assert sos.due(1700)


def test_sos_is_tried_until_it_is_stored():
    sos = Sos(500, 10000)
    sos.button(True, 0)
    for now_ms in range(500, 20500, RETRY_MS):
        assert sos.due(now_ms)
        sos.failed(now_ms)
        sos.button(False, now_ms + 1)
        sos.button(True, now_ms + 2)
        assert not sos.due(now_ms + RETRY_MS - 1)
    assert sos.due(20500)
    sos.stored(20500)
    assert sos.next_wake_ms() == -1


class FakeNode:
    def __init__(self):
        self.stored = []
        self.trouble = None

    def record(self, *event):
        ev.encode(*event)
        if self.trouble:
            raise self.trouble
        self.stored.append(event)
        return len(self.stored)


class FakeIndicator:
    def __init__(self, node):
        self.node = node
        self.shown = []

    # what was durable at the moment of the sound
    def show(self, name):
        self.shown.append((name, len(self.node.stored)))


def new_tag():
    node = FakeNode()
    indicator = FakeIndicator(node)
    shift = new_shift()
    tag = Tag(node, lambda: 0, None, shift, Sos(500, 10000), indicator, None, 60000)
    return tag, node, indicator, shift


def test_the_guard_hears_it_only_after_it_is_durable():
    tag, node, indicator, _ = new_tag()
    tag.on_card(STAFF, 0)
    tag.on_card(GATE, 1000)
    tag.on_card(GATE, 1500)
    tag.on_card(STRANGER, 2000)
    assert node.stored == [(ev.SHIFT_START, STAFF), (ev.VISIT, GATE), (ev.UNKNOWN_CARD, STRANGER)]
    assert indicator.shown == [("shift_start", 1), ("taken", 2), ("again", 2), ("unknown", 3)]


def test_what_was_not_stored_changes_nothing_and_sounds_different():
    for trouble in (JournalFull("full"), FlashError("dead")):
        tag, node, indicator, shift = new_tag()
        node.trouble = trouble
        tag.on_card(STAFF, 0)
        tag.on_card(GATE, 100)
        assert shift.guard is None
        assert shift.checkpoint is None
        assert indicator.shown == [("refused", 0), ("refused", 0)]
        node.trouble = None
        # no repetition: the first tap was never taken
        tag.on_card(STAFF, 200)
        assert node.stored == [(ev.SHIFT_START, STAFF)]


def test_commands_and_faults():
    tag, node, indicator, _ = new_tag()
    assert tag.on_command(4, None) == (0, "")
    assert tag.on_command(1, None)[0] == 3
    assert indicator.shown == [("call", 0)]
    tag.on_reader_trouble()
    tag.on_start(["repeat_ms: whole number 1000 to 600000", "x"])
    assert node.stored == [
        (ev.FAULT, faults.READER, "reader does not answer"),
        (ev.FAULT, faults.CONFIG, "repeat_ms: whole number "),
    ]
    tag.on_start([])
    assert indicator.shown[-1] == ("ready", 2)
