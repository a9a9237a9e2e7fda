# The barrier around its state machine: relays, loops, access list, readings, order of motor and journal.
from barrier import access_list, credential, loops
from barrier.access_list import AccessList
from barrier.barrier import DOWN, OFF, UP, Barrier
from barrier.gate import Gate
from barrier.relay import Relays
from gatelink import events as ev
from node.errors import JournalFull

TIMING = {
    "travel_ms": 8000,
    "auto_close_ms": 15000,
    "pass_close_ms": 2000,
    "pause_ms": 400,
    "forced_ms": 800,
    "stuck_ms": 600000,
}
CAR = b"\x12\xcb\x21"


# Two relays on one motor: both at once is a short circuit.
class Motor:
    def __init__(self, log):
        self.log = log
        self.levels = {"up": 0, "down": 0}


class RelayPin:
    def __init__(self, motor, name):
        self.motor = motor
        self.name = name

    def value(self, level):
        levels = self.motor.levels
        if levels[self.name] != level:
            levels[self.name] = level
            self.motor.log.append("%s %d" % (self.name, level))
        assert not (levels["up"] and levels["down"])


class LoopPin:
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self):
        self.level = 0
        self.handler = None
        self.plan = []

    def value(self):
        if self.plan:
            self.level = self.plan.pop(0)
        return self.level

    def irq(self, handler, trigger):
        self.handler = handler

    def turn(self, level):
        self.level = level
        self.handler(self)


def new_relays():
    log = []
    motor = Motor(log)
    pin = LoopPin()
    down = RelayPin(motor, "down")
    loop = loops.SafetyLoop(pin, lambda: down.value(0))
    return Relays(RelayPin(motor, "up"), down, loop.blocked), motor, loop, pin, log


def test_relays_never_both():
    relays, motor, _, _, _ = new_relays()
    for first in (OFF, UP, DOWN):
        for second in (OFF, UP, DOWN):
            assert relays.drive(first)
            assert relays.drive(second)
            assert motor.levels == {"up": second == UP, "down": second == DOWN}


def test_down_is_refused_by_the_pin_itself():
    relays, motor, loop, pin, _ = new_relays()
    pin.level = 1
    assert not relays.drive(DOWN)
    assert motor.levels["down"] == 0
    assert loop.value() == 1
    pin.level = 0
    assert relays.drive(DOWN)
    # occupied between look and switch
    relays, motor, _, pin, log = new_relays()
    pin.plan = [0, 1]
    assert not relays.drive(DOWN)
    assert log == ["down 1", "down 0"]


def test_the_interrupt_cuts_lowering_and_is_remembered():
    relays, motor, loop, pin, _ = new_relays()
    told = []
    loop.irq(told.append, 3)
    relays.drive(DOWN)
    pin.turn(1)
    assert motor.levels["down"] == 0
    pin.turn(0)
    assert len(told) == 2
    assert loop.blocked()
    assert loop.value() == 1
    assert loop.value() == 0
    assert not loop.blocked()
    relays.drive(UP)
    pin.turn(1)
    assert motor.levels["up"] == 1  # raising goes on


class FakeNode:
    def __init__(self, log):
        self.log = log
        self.full = False

    def record(self, kind, *fields):
        ev.encode(kind, *fields)
        if self.full:
            raise JournalFull("full")
        self.log.append((kind,) + fields)


class FakeOutput:
    def __init__(self):
        self.level = 0
        self.shown = []

    def value(self, level):
        self.level = level

    def show(self, name):
        self.shown.append(name)

    def set(self):
        pass


class Site:
    def __init__(self, entries=(), now=None):
        self.relays, self.motor, self.loop, self.pin, self.log = new_relays()
        self.node = FakeNode(self.log)
        self.out = FakeOutput()
        self.now_ms = 0
        self.barrier = Barrier(TIMING, 0, False, True, False)
        self.gate = Gate(
            self.node,
            lambda: self.now_ms,
            self.out,
            self.barrier,
            self.relays,
            self.out,
            self.out,
            lambda: now,
        )
        packed, problems = access_list.pack(list(entries))
        assert problems == []
        self.lane = credential.Lane(ev.IN, AccessList(packed))
        self.gate.on_start([])

    def contact(self, name, active, now_ms):
        self.now_ms = now_ms
        self.gate.on_contact(name, active, now_ms)

    def take(self):
        taken = list(self.log)
        del self.log[:]
        return taken


RESIDENT = ({"credential": "12cb21", "class": "resident"},)


def open_site():
    site = Site(RESIDENT)
    site.gate.on_credential(site.lane, CAR)
    site.contact("limit_closed", False, 500)
    site.contact("limit_open", True, 3000)
    site.now_ms = 3500
    site.take()
    return site


def test_a_resident_passes():
    site = Site(RESIDENT)
    assert site.take() == [(ev.BARRIER, ev.CLOSED, ev.POWER_ON, 0)]
    site.gate.on_credential(site.lane, CAR)
    # the motor first, then flash
    assert site.take() == [
        "up 1",
        (ev.ACCESS, CAR, ev.GRANTED, access_list.GRANTED_BASE, ev.IN),
        (ev.BARRIER, ev.OPENING, ev.CREDENTIAL, 1),
    ]
    site.contact("limit_closed", False, 500)
    site.contact("limit_open", True, 3000)
    assert site.take() == ["up 0", (ev.BARRIER, ev.OPEN, ev.LIMIT, 1)]
    assert site.out.level == 1


def test_before_it_lowers_the_event_is_durable_and_while_it_lowers_nothing_is_written():
    site = open_site()
    assert site.gate.on_command(2, None) == (0, "")
    assert site.take() == [(ev.BARRIER, ev.CLOSING, ev.COMMAND, 1), "down 1"]
    assert site.out.level == 0
    site.gate.on_credential(site.lane, b"\x01\x02\x03")
    assert site.out.shown == ["unknown"]
    assert site.take() == []
    site.contact("limit_open", False, 3600)
    site.contact("limit_closed", True, 7000)
    assert site.take() == [
        "down 0",
        (ev.ACCESS, b"\x01\x02\x03", ev.DENIED, access_list.UNKNOWN, ev.IN),
        (ev.BARRIER, ev.CLOSED, ev.LIMIT, 1),
    ]


def test_a_car_on_the_loop_stops_it_before_anything_else():
    site = open_site()
    site.loop.irq(lambda pin: None, 3)
    site.gate.on_command(2, None)
    site.contact("limit_open", False, 3550)
    site.take()
    site.pin.turn(1)
    assert site.take() == ["down 0"]
    site.contact("loop_safety", True, 3600)
    assert site.take() == [(ev.OBSTRUCTED, 0), (ev.BARRIER, ev.OPENING, ev.LOOP, 2)]
    assert site.gate.on_command(2, None) == (1, "occupied")
    assert site.motor.levels == {"up": 0, "down": 0}
    site.barrier.poll(4000)
    site.gate._settle()
    assert site.motor.levels == {"up": 1, "down": 0}


def test_a_full_journal_keeps_nobody_waiting():
    site = Site(RESIDENT)
    site.node.full = True
    site.gate.on_credential(site.lane, CAR)
    assert site.motor.levels["up"] == 1
    assert site.gate.lost == 2


def test_buttons_and_commands():
    site = Site()
    site.take()
    site.contact("button_open", True, 0)
    site.contact("button_open", False, 100)
    assert site.take() == ["up 1", (ev.BARRIER, ev.OPENING, ev.BUTTON, 1)]
    site.contact("button_stop", True, 1000)
    assert site.take() == ["up 0", (ev.BARRIER, ev.STOPPED, ev.BUTTON, 1)]
    assert site.gate.on_command(1, None) == (0, "")
    assert site.gate.on_command(3, None) == (0, "")
    assert site.gate.on_command(4, None) == (0, "")
    assert site.gate.on_command(9, None) == (3, "")
    site.contact("limit_closed", False, 1000)
    site.barrier.limits(True, True, 1100)
    assert site.gate.on_command(1, None) == (1, "fault")
    site.contact("loop_approach", True, 1200)
    assert not site.barrier.occupied


def test_a_bad_config_is_reported_and_everything_stands_still():
    site = Site()
    site.take()
    site.gate.on_start(["access: credential zz: 1 to 10 bytes in hex"])
    assert site.take() == [(ev.FAULT, 10, "access: credential zz: 1")]
    assert site.motor.levels == {"up": 0, "down": 0}


DAY = 86400
NOW = 1_800_000_000
ENTRIES = [
    {"credential": "000007", "class": "resident"},
    {"credential": "0007", "class": "resident"},
    {"credential": "04A1B2C3", "class": "visitor", "from": NOW, "until": NOW + 7200, "note": "plumber"},
    {"credential": "04a1b2c4", "class": "contractor", "until": NOW + DAY},
    {"credential": "04a1b2c5", "class": "delivery", "from": NOW, "until": None},
    {"credential": "04a1b2c6", "class": "blacklist"},
    {"credential": "04a1b2c6", "class": "resident"},
    {"credential": "00000000000000000001"},
]


def test_classes_and_windows():
    packed, problems = access_list.pack(ENTRIES)
    assert problems == []
    access = AccessList(packed)
    assert len(access) == 7
    visitor = b"\x04\xa1\xb2\xc3"
    sure = (NOW + 60, NOW + 61)
    assert access.judge(b"\x00\x00\x07", None) == (True, 16)
    assert access.judge(b"\x00\x07", None) == (True, 16)
    assert access.judge(b"\x07", None) == (False, access_list.UNKNOWN)
    assert access.judge(b"\x00" * 9 + b"\x01", None) == (True, 16)
    assert access.judge(b"\x00" * 10, None) == (False, access_list.UNKNOWN)
    assert access.judge(b"", sure) == (False, access_list.UNKNOWN)
    assert access.judge(b"\x00" * 11, sure) == (False, access_list.UNKNOWN)
    assert access.judge(b"\x04\xa1\xb2\xc6", sure) == (False, access_list.BLACKLISTED)
    assert access.judge(visitor, sure) == (True, 17)
    assert access.judge(visitor, None) == (False, access_list.NO_TIME)
    assert access.judge(visitor, (NOW - 10, NOW - 1)) == (False, access_list.NOT_YET)
    assert access.judge(visitor, (NOW + 7201, NOW + 7300)) == (False, access_list.EXPIRED)
    # it could be either: denied, and said so
    assert access.judge(visitor, (NOW - 5, NOW + 5)) == (False, access_list.NO_TIME)
    assert access.judge(visitor, (NOW + 7100, NOW + 7300)) == (False, access_list.NO_TIME)
    assert access.judge(b"\x04\xa1\xb2\xc4", (0, 1)) == (True, 19)
    assert access.judge(b"\x04\xa1\xb2\xc5", (NOW + 99 * DAY, NOW + 99 * DAY)) == (True, 18)


def test_every_entry_is_found_and_nothing_else():
    entries = [{"credential": "%06x" % (number * 7919 % 16777213)} for number in range(500)]
    access = AccessList(access_list.pack(entries)[0])
    assert len(access) == 500
    for number in range(500):
        value = number * 7919 % 16777213
        assert access.find(value.to_bytes(3, "big")) == (0, 0, 0)
        assert access.find((value + 1).to_bytes(3, "big")) is None
    assert AccessList(b"").find(CAR) is None


def test_wrong_entries_are_left_out_and_named():
    for entry, problem in (
        ({"credential": "zz"}, "access: credential zz: 1 to 10 bytes in hex"),
        ({"credential": ""}, "access: credential : 1 to 10 bytes in hex"),
        ({}, "access: credential: hex"),
        (["12cb21"], "access: credential: hex"),
        (
            {"credential": "12cb21", "class": "vip"},
            "access: class of 12cb21: one of blacklist, contractor, delivery, resident, visitor",
        ),
        ({"credential": "12cb21", "until": "2027"}, "access: until of 12cb21: unix seconds"),
        ({"credential": "12cb21", "from": -1}, "access: from of 12cb21: unix seconds"),
        ({"credential": "12cb21", "untill": 5}, "access: untill: unknown key"),
    ):
        packed, problems = access_list.pack([entry, {"credential": "000001"}])
        assert problems == [problem]
        assert len(packed) == 20


def test_a_card_held_in_front_of_the_reader_is_one_reading():
    lane = credential.Lane(ev.OUT, AccessList(access_list.pack(list(RESIDENT))[0]))
    assert lane.read(CAR, 0, None) == (True, (ev.ACCESS, CAR, 1, 16, 1))
    assert lane.read(CAR, 500, None) is None
    assert lane.read(b"\x00\x00\x01", 600, None) == (False, (ev.ACCESS, b"\x00\x00\x01", 0, 1, 1))
    assert lane.read(CAR, 700, None) is not None
    assert lane.read(CAR, 3700, None) is not None


def test_what_time_it_can_be():
    assert credential.interval(None, 5) is None
    assert credential.interval((1000, 1_800_000_000_000, 40), 1000) == (1_799_999_999, 1_800_000_001)
    low, high = credential.interval((1000, 1_800_000_000_000, 40), 1000 + DAY * 1000)
    assert low < 1_800_000_000 + DAY < high
    assert 8 <= high - low <= 11
