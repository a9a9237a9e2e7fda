# Runs on CPython and on MicroPython: plain functions, no imports beyond the device's own.
from barrier.barrier import DO_CLOSE, DO_OPEN, DO_STOP, DOWN, OFF, UP, Barrier
from gatelink import events as ev

TIMING = {
    "travel_ms": 8000,
    "auto_close_ms": 15000,
    "pass_close_ms": 2000,
    "pause_ms": 400,
    "forced_ms": 800,
    "stuck_ms": 600000,
}


def closed(now_ms=0):
    barrier = Barrier(TIMING, now_ms, False, True, False)
    assert barrier.take_events() == [(ev.BARRIER, ev.CLOSED, ev.POWER_ON, 0)]
    return barrier


def opened(now_ms=0):
    barrier = closed(now_ms)
    assert barrier.request(DO_OPEN, ev.CREDENTIAL, now_ms)
    barrier.limits(False, False, now_ms)
    barrier.limits(True, False, now_ms)
    assert barrier.state == ev.OPEN
    barrier.take_events()
    return barrier


def states(barrier):
    return [event[1:] for event in barrier.take_events() if event[0] == ev.BARRIER]


def test_credential_opens_and_it_closes_by_itself():
    barrier = closed()
    assert barrier.next_wake_ms() == -1
    assert barrier.request(DO_OPEN, ev.CREDENTIAL, 100)
    assert barrier.drive == UP
    assert states(barrier) == [(ev.OPENING, ev.CREDENTIAL, 1)]
    barrier.limits(False, False, 600)
    barrier.limits(True, False, 4100)
    assert barrier.drive == OFF
    assert states(barrier) == [(ev.OPEN, ev.LIMIT, 1)]
    assert barrier.next_wake_ms() == 19100
    barrier.poll(19099)
    assert barrier.drive == OFF
    barrier.poll(19100)
    assert barrier.drive == DOWN
    assert states(barrier) == [(ev.CLOSING, ev.AUTO_CLOSE, 1)]
    barrier.limits(False, False, 20000)
    barrier.limits(False, True, 23000)
    assert barrier.drive == OFF
    assert states(barrier) == [(ev.CLOSED, ev.LIMIT, 1)]
    assert barrier.next_wake_ms() == -1


def test_closes_soon_after_a_vehicle_has_passed():
    barrier = opened()
    barrier.loop(True, 3000)
    assert barrier.next_wake_ms() == 603000  # only the stuck timer
    barrier.poll(60000)
    assert barrier.drive == OFF
    barrier.loop(False, 61000)
    barrier.poll(62999)
    assert barrier.drive == OFF
    barrier.poll(63000)
    assert barrier.drive == DOWN


def test_never_closes_on_an_occupied_loop():
    for cause in (ev.BUTTON, ev.COMMAND):
        barrier = opened()
        barrier.loop(True, 1000)
        assert not barrier.request(DO_CLOSE, cause, 2000)
        assert barrier.drive == OFF
        assert barrier.state == ev.OPEN
        assert barrier.take_events() == []


def test_reverses_when_the_loop_becomes_occupied():
    barrier = opened()
    assert barrier.request(DO_CLOSE, ev.COMMAND, 1000)
    assert barrier.drive == DOWN
    barrier.limits(False, False, 1500)
    barrier.take_events()
    barrier.loop(True, 2000)
    assert barrier.drive == OFF
    assert barrier.take_events() == [(ev.OBSTRUCTED, 0), (ev.BARRIER, ev.OPENING, ev.LOOP, 2)]
    assert barrier.next_wake_ms() == 2400
    barrier.poll(2399)
    assert barrier.drive == OFF
    barrier.poll(2400)
    assert barrier.drive == UP
    barrier.limits(True, False, 3000)
    assert barrier.state == ev.OPEN
    assert barrier.drive == OFF


def test_reverses_for_a_card():
    barrier = opened()
    barrier.request(DO_CLOSE, ev.BUTTON, 1000)
    barrier.limits(False, False, 1500)
    barrier.take_events()
    assert barrier.request(DO_OPEN, ev.CREDENTIAL, 2000)
    assert barrier.drive == OFF
    assert states(barrier) == [(ev.OPENING, ev.CREDENTIAL, 2)]
    barrier.poll(2400)
    assert barrier.drive == UP


def test_a_second_card_keeps_it_open_longer():
    barrier = opened()
    assert barrier.request(DO_OPEN, ev.CREDENTIAL, 14000)
    assert barrier.take_events() == []
    barrier.poll(28999)
    assert barrier.state == ev.OPEN
    barrier.poll(29000)
    assert barrier.state == ev.CLOSING


def test_stop_holds_for_ever():
    barrier = opened()
    assert barrier.request(DO_STOP, ev.BUTTON, 1000)
    assert states(barrier) == [(ev.STOPPED, ev.BUTTON, 1)]
    assert barrier.next_wake_ms() == -1
    barrier.request(DO_CLOSE, ev.BUTTON, 2000)
    barrier.limits(False, False, 2500)
    barrier.request(DO_STOP, ev.COMMAND, 3000)
    assert barrier.drive == OFF
    assert barrier.state == ev.STOPPED
    assert barrier.request(DO_OPEN, ev.COMMAND, 3100)
    assert barrier.drive == OFF
    barrier.poll(3400)
    assert barrier.drive == UP


def test_travel_timeout_is_a_fault_and_opening_may_be_tried_again():
    barrier = closed()
    barrier.request(DO_OPEN, ev.CREDENTIAL, 0)
    barrier.take_events()
    barrier.poll(8000)
    assert barrier.drive == OFF
    assert barrier.take_events() == [
        (ev.BARRIER, ev.BROKEN, ev.TIMEOUT, 1),
        (ev.FAULT, 16, "barrier travel"),
    ]
    assert not barrier.request(DO_CLOSE, ev.COMMAND, 9000)
    assert barrier.request(DO_OPEN, ev.CREDENTIAL, 9000)
    assert barrier.drive == UP


def test_forced_open_is_an_alarm():
    barrier = closed()
    barrier.limits(False, False, 1000)
    barrier.limits(False, True, 1500)
    assert barrier.next_wake_ms() == -1
    assert barrier.take_events() == []
    barrier.limits(False, False, 2000)
    barrier.poll(2800)
    assert barrier.take_events() == [(ev.FORCED,), (ev.BARRIER, ev.STOPPED, ev.FORCE, 0)]
    barrier.limits(False, True, 9000)
    assert states(barrier) == [(ev.CLOSED, ev.LIMIT, 0)]


def test_a_boom_that_sinks_goes_up_again():
    barrier = opened()
    barrier.limits(False, False, 1000)
    barrier.poll(1800)
    assert barrier.drive == UP
    assert barrier.state == ev.OPENING


def test_stuck_loop_is_reported_once_and_holds_it_open():
    barrier = opened()
    barrier.loop(True, 1000)
    barrier.poll(601000)
    assert barrier.take_events() == [(ev.LOOP_FAULT, 0)]
    barrier.poll(9000000)
    assert barrier.take_events() == []
    assert barrier.state == ev.OPEN
    assert barrier.next_wake_ms() == -1
    barrier.loop(False, 9100000)
    barrier.poll(9102000)
    assert barrier.state == ev.CLOSING
    barrier.loop(True, 9102100, 1)
    barrier.poll(9702100)
    assert (ev.LOOP_FAULT, 1) in barrier.take_events()


def test_both_limits_at_once_stop_everything():
    barrier = closed()
    barrier.request(DO_OPEN, ev.CREDENTIAL, 0)
    barrier.limits(True, True, 100)
    assert barrier.drive == OFF
    assert barrier.state == ev.BROKEN
    assert not barrier.request(DO_OPEN, ev.BUTTON, 200)
    assert barrier.drive == OFF
    barrier.limits(False, False, 300)
    assert barrier.request(DO_OPEN, ev.BUTTON, 400)
    assert Barrier(TIMING, 0, True, True, False).state == ev.BROKEN


def test_after_power_on_in_mid_travel_it_waits():
    barrier = Barrier(TIMING, 0, False, False, False, 77)
    assert states(barrier) == [(ev.STOPPED, ev.POWER_ON, 77)]
    assert barrier.drive == OFF
    assert barrier.next_wake_ms() == -1
    barrier = Barrier(TIMING, 0, True, False, True, 77)
    assert barrier.state == ev.OPEN
    barrier.poll(500000)
    assert barrier.drive == OFF


def test_auto_close_can_be_switched_off():
    timing = dict(TIMING)
    timing["auto_close_ms"] = 0
    barrier = Barrier(timing, 0, True, False, False)
    barrier.loop(True, 100)
    barrier.loop(False, 200)
    barrier.poll(1000000)
    assert barrier.state == ev.OPEN


# A number generator of its own: the same histories under both interpreters.
class Dice:
    def __init__(self, seed):
        self._state = seed

    def below(self, limit):
        self._state = (self._state * 1103515245 + 12345) & 0x3FFFFFFF
        return (self._state >> 12) % limit


# Boom, motor and limits: position 0 (closed) .. 3000 (open), one unit a millisecond, jams and broken limits
# included.
class Plant:
    def __init__(self, dice):
        self.dice = dice
        self.position = (0, 3000, 1500)[dice.below(3)]
        self.jammed = False
        self.broken = 0

    def move(self, drive, ms):
        if not self.jammed and drive != OFF:
            self.position = min(3000, max(0, self.position + (ms if drive == UP else -ms)))

    def limits(self):
        limit_open = self.position == 3000 and not self.broken & 1
        limit_closed = self.position == 0 and not self.broken & 2
        return (limit_open or bool(self.broken & 4)), limit_closed


# Watches the motor: it rests before it turns the other way, and never runs longer than a travel.
class Motor:
    def __init__(self):
        self.drive = OFF
        self.last = OFF
        self.changed_ms = -100000

    def watch(self, drive, now_ms):
        if drive != self.drive:
            if self.drive != OFF:
                self.last = self.drive
                assert drive == OFF
            elif self.last != OFF and drive != self.last:
                assert now_ms - self.changed_ms >= TIMING["pause_ms"]
            self.drive = drive
            self.changed_ms = now_ms
        # 200 ms are a step of this world, 300 ms what it is late at times
        assert drive == OFF or now_ms - self.changed_ms <= TIMING["travel_ms"] + 500


def explore(seed, steps):
    dice = Dice(seed)
    plant = Plant(dice)
    motor = Motor()
    now_ms = dice.below(1000)
    limit_open, limit_closed = plant.limits()
    occupied = dice.below(4) == 0
    barrier = Barrier(TIMING, now_ms, limit_open, limit_closed, occupied)
    reported = None
    seen = set()
    for _ in range(steps):
        what = dice.below(24)
        if what < 4:
            occupied = not occupied
            barrier.loop(occupied, now_ms)
        elif what < 8:
            barrier.request(DO_OPEN, (ev.CREDENTIAL, ev.COMMAND, ev.BUTTON)[dice.below(3)], now_ms)
        elif what < 11:
            barrier.request(DO_CLOSE, (ev.COMMAND, ev.BUTTON)[dice.below(2)], now_ms)
        elif what == 11:
            barrier.request(DO_STOP, ev.BUTTON, now_ms)
        elif what == 12:
            plant.jammed = not plant.jammed
        elif what == 13:
            plant.broken = (0, 0, 0, 1, 2, 4)[dice.below(6)]
        elif what == 14:
            plant.position = dice.below(3001)
        elif what == 15:
            barrier.loop(dice.below(2) == 0, now_ms, 1)
        else:
            # time passes, in wakes as the device would make them, some of them too late
            until_ms = now_ms + (100, 1000, 5000, 20000)[dice.below(4)]
            while now_ms < until_ms:
                wake_ms = barrier.next_wake_ms()
                step_ms = min(until_ms - now_ms, 200)
                if now_ms < wake_ms < now_ms + step_ms:
                    step_ms = wake_ms - now_ms + (dice.below(300) if dice.below(10) == 0 else 0)
                plant.move(barrier.drive, step_ms)
                now_ms += step_ms
                barrier.limits(*plant.limits(), now_ms)
                check_drive(barrier, occupied)
                motor.watch(barrier.drive, now_ms)
                if barrier.drive == OFF and barrier.next_wake_ms() == -1:
                    now_ms = until_ms
        motor.watch(barrier.drive, now_ms)
        barrier.limits(*plant.limits(), now_ms)
        motor.watch(barrier.drive, now_ms)
        check_drive(barrier, occupied)
        for event in barrier.take_events():
            ev.encode(*event)
            if event[0] == ev.BARRIER:
                reported = event[1]
        # whatever happened, the last report is the truth
        assert reported == barrier.state
        seen.add(barrier.state)
    return seen


def check_drive(barrier, occupied):
    drive = barrier.drive
    assert drive != DOWN or (not occupied and barrier.state == ev.CLOSING)
    assert drive != UP or barrier.state == ev.OPENING
    assert barrier.occupied == occupied
    assert barrier.state != ev.CLOSING or not occupied
    if barrier.limit_open and barrier.limit_closed:
        assert drive == OFF
    # a movement, or the rest before it, always has an end
    if barrier.state in (ev.OPENING, ev.CLOSING):
        assert barrier.next_wake_ms() >= 0


def test_ten_thousand_steps_of_chance():
    seen = set()
    for seed in range(40):
        seen |= explore(seed * 7919 + 1, 250)
    assert seen == {ev.CLOSED, ev.OPENING, ev.OPEN, ev.CLOSING, ev.STOPPED, ev.BROKEN}


# Every sequence of five inputs out of eight, from each starting position.
def test_every_short_history():
    def play(start, number):
        now_ms = 0
        limit_open, limit_closed = ((False, True), (True, False), (False, False))[start]
        barrier = Barrier(TIMING, 0, limit_open, limit_closed, False)
        occupied = False
        for _ in range(5):
            what = number % 8
            number //= 8
            if what == 0:
                barrier.request(DO_OPEN, ev.CREDENTIAL, now_ms)
            elif what == 1:
                barrier.request(DO_CLOSE, ev.COMMAND, now_ms)
            elif what == 2:
                barrier.request(DO_STOP, ev.BUTTON, now_ms)
            elif what == 3:
                occupied = not occupied
                barrier.loop(occupied, now_ms)
            elif what == 4:
                limit_open, limit_closed = False, False
                barrier.limits(limit_open, limit_closed, now_ms)
            elif what == 5:
                limit_open, limit_closed = barrier.drive == UP, barrier.drive == DOWN
                barrier.limits(limit_open, limit_closed, now_ms)
            else:
                now_ms += 400 if what == 6 else 15000
                barrier.poll(now_ms)
            check_drive(barrier, occupied)
        reports = [event[1:] for event in barrier.take_events() if event[0] == ev.BARRIER]
        assert reports[-1][0] == barrier.state

    for start in range(3):
        for number in range(8**5 // STRIDE):
            play(start, number * STRIDE)


# The whole space takes seconds on CPython and minutes on a slow interpreter, which takes every 61st history.
STRIDE = 1 if hasattr(Barrier, "__mro__") else 61
