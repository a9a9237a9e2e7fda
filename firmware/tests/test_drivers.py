# Wiegand, contacts, battery, UIDs, config and faults: levels and bits in, values out.
from drivers import battery, config, faults, uid, wiegand
from drivers.battery import Battery
from drivers.buttons import Contacts, Debounced
from drivers.indicator import PATTERNS, Indicator


class Flag:
    def __init__(self):
        self.times = 0

    def set(self):
        self.times += 1


def bits26(facility, number):
    data = [facility >> bit & 1 for bit in range(7, -1, -1)] + [
        number >> bit & 1 for bit in range(15, -1, -1)
    ]
    return [sum(data[:12]) & 1] + data + [1 - (sum(data[12:]) & 1)]


def bits34(value):
    data = [value >> bit & 1 for bit in range(31, -1, -1)]
    return [sum(data[:16]) & 1] + data + [1 - (sum(data[16:]) & 1)]


def send(reader, bits):
    for bit in bits:
        (reader.one if bit else reader.zero)()


def test_wiegand_26():
    # facility 1, number 1: the usual example of makers' manuals
    assert wiegand.decode(bytes(bits26(1, 1))) == (b"\x01\x00\x01", "")
    assert wiegand.decode(bytes(bits26(0, 7))) == (b"\x00\x00\x07", "")
    assert wiegand.decode(bytes(bits26(255, 65535))) == (b"\xff\xff\xff", "")


def test_wiegand_34():
    assert wiegand.decode(bytes(bits34(0x00A1B2C3))) == (b"\x00\xa1\xb2\xc3", "")
    assert wiegand.decode(bytes(bits34(0xFFFFFFFF))) == (b"\xff\xff\xff\xff", "")


def test_every_single_flipped_bit_is_refused():
    for bits in (bits26(18, 52001), bits34(0x04C2F10A)):
        for index in range(len(bits)):
            wrong = list(bits)
            wrong[index] ^= 1
            assert wiegand.decode(bytes(wrong)) == (None, wiegand.PARITY)


def test_lost_and_extra_pulses_are_refused():
    good = bits26(18, 52001)
    for count in list(range(26)) + list(range(27, 34)):
        assert wiegand.decode(bytes((good + good)[:count])) == (None, wiegand.SHORT)
    for count in range(35, 41):
        assert wiegand.decode(bytes((good + good)[:count])) == (None, wiegand.LONG)


def test_a_reader_that_sends_the_bytes_backwards_is_turned_round():
    for credential in (b"\x00\xa1\xb2\xc3", b"\x00\x00\x07"):
        for backwards in (False, True):
            reader = wiegand.Wiegand(Flag(), backwards)
            sent = bytes(reversed(credential)) if backwards else credential
            bits = [value >> bit & 1 for value in sent for bit in range(7, -1, -1)]
            half = len(bits) // 2
            bits = [sum(bits[:half]) & 1] + bits + [1 - (sum(bits[half:]) & 1)]
            for bit in bits:
                reader.one() if bit else reader.zero()
            assert reader.take() == credential


def test_wiegand_reader_counts_and_goes_on():
    flag = Flag()
    reader = wiegand.Wiegand(flag)
    assert reader.take() is None
    send(reader, [1])  # a glitch
    assert reader.take() is None
    send(reader, bits34(5))
    assert flag.times == 35
    assert reader.take() == b"\x00\x00\x00\x05"
    send(reader, [0] * 200)
    assert reader.take() is None
    send(reader, bits26(2, 3))
    assert reader.take() == b"\x02\x00\x03"
    assert reader.refused == {"short": 1, "long": 1, "parity": 0}


def test_a_bouncing_contact_is_one_press():
    contact = Debounced(False, 30, 30)
    changes = []
    levels = (
        (0, True),
        (3, False),
        (5, True),
        (8, False),
        (12, True),
        (20, True),
        (41, True),
        (42, True),
        (50, True),
    )
    for now_ms, raw in levels:
        if contact.sample(raw, now_ms):
            changes.append(now_ms)
    assert changes == [42]
    assert contact.wait_ms(60) == -1
    assert not contact.sample(False, 100)
    assert contact.wait_ms(110) == 20
    assert not contact.sample(True, 115)  # a glitch
    assert contact.wait_ms(116) == -1
    assert contact.active


def test_a_loop_is_believed_at_once_and_free_slowly():
    loop = Debounced(False, 0, 300)
    assert loop.sample(True, 1000)
    assert not loop.sample(False, 1100)
    assert not loop.sample(True, 1200)
    assert not loop.sample(False, 1300)
    assert not loop.sample(False, 1599)
    assert loop.sample(False, 1600)


class FakePin:
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, level):
        self.level = level
        self.handler = None

    def value(self):
        return self.level

    def irq(self, handler, trigger):
        assert trigger == 3
        self.handler = handler

    def turn(self, level):
        self.level = level
        self.handler(self)


def test_contacts_sleep_while_nothing_happens():
    flag = Flag()
    now = [0]
    seen = []
    contacts = Contacts(
        flag, lambda: now[0], lambda name, active, now_ms: seen.append((name, active, now_ms))
    )
    button = FakePin(1)
    loop = FakePin(1)
    assert not contacts.add("button", button, 0, 30, 30)
    assert contacts.add("loop", loop, 1, 0, 300)
    assert contacts.look() == -1
    button.turn(0)
    assert flag.times == 1
    assert contacts.look() == 30
    now[0] = 10
    loop.turn(0)
    assert contacts.look() == 20
    now[0] = 30
    assert contacts.look() == 280
    assert seen == [("button", True, 30)]
    now[0] = 310
    assert contacts.look() == -1
    assert seen[1:] == [("loop", False, 310)]


def test_battery_curve():
    assert battery.percent(2900) == 0
    assert battery.percent(3300) == 0
    assert battery.percent(3450) == 2
    assert battery.percent(3800) == 40
    assert battery.percent(4150) == 95
    assert battery.percent(4300) == 100
    before = 0
    for mv in range(3200, 4300):
        assert before <= battery.percent(mv) <= 100
        before = battery.percent(mv)


class FakeAdc:
    def __init__(self, samples):
        self.samples = samples

    def read_uv(self):
        self.samples.append(self.samples.pop(0))
        return self.samples[-1]


def test_battery_reads_the_median():
    adc = FakeAdc([1900000, 1900000, 900000, 1901000, 1899000, 3300000, 1900000, 1900000, 1900000])
    assert Battery(adc).read_mv() == 3800


def test_battery_levels_have_hysteresis():
    cell = Battery(None)
    told = []
    for mv in (3900, 3740, 3725, 3735, 3725, 3590, 3610, 3590, 3700, 3725, 3745, 3760, 4100):
        if cell.judge(mv):
            told.append((mv, cell.level))
    assert told == [(3725, 1), (3590, 2), (3700, 1), (3760, 0)]


def test_one_form_of_a_uid():
    for text in ("04A1B2C3", "04 a1 b2 c3", "04:A1:B2:C3", "04-a1-b2-c3"):
        assert uid.parse(text) == b"\x04\xa1\xb2\xc3"
    assert uid.parse("00000000000001") == bytes(6) + b"\x01"
    assert len(uid.parse("00" * 10)) == 10
    assert uid.octets("000007") == b"\x00\x00\x07"
    for text in ("", "04a1b2", "04a1b2c3d4", "04a1b2cg", "04a1b2c", "00" * 11, "0x04a1b2"):
        try:
            uid.parse(text)
        except ValueError:
            continue
        raise AssertionError(text)


SCHEMA = {
    "repeat_ms": (20000, config.whole(1000, 600000)),
    "staff": ([], config.uids),
    "loud": (True, config.yes_no),
    "access": ([], config.as_list),
}


def test_config_takes_what_is_right_and_names_what_is_not():
    values, problems = config.check({"repeat_ms": 5000, "staff": ["00A1B2C3"], "_note": 1}, SCHEMA)
    assert problems == []
    assert values == {"repeat_ms": 5000, "staff": [b"\x00\xa1\xb2\xc3"], "loud": True, "access": []}
    for raw, problem in (
        ({"repeat_ms": 5}, "repeat_ms: whole number 1000 to 600000"),
        ({"repeat_ms": True}, "repeat_ms: whole number 1000 to 600000"),
        ({"repeat_ms": "5000"}, "repeat_ms: whole number 1000 to 600000"),
        ({"repeat": 5000}, "repeat: unknown key"),
        ({"staff": ["a1b2"]}, "staff: a1b2: a UID is 4, 7 or 10 bytes in hex"),
        ({"staff": [5]}, "staff: list of UIDs in hex"),
        ({"staff": "00A1B2C3"}, "staff: list of UIDs in hex"),
        ({"loud": 1}, "loud: true or false"),
        ({"access": {}}, "access: list"),
        ([], "config: not an object"),
    ):
        values, problems = config.check(raw, SCHEMA)
        assert problems == [problem]
        assert values == {"repeat_ms": 20000, "staff": [], "loud": True, "access": []}


def test_config_file():
    assert config.load("no such file.json", SCHEMA)[1] == ["config: no file"]
    # this file is no JSON either
    assert config.load(__file__, SCHEMA)[1] == ["config: not JSON"]


def test_fault_text_fits_its_event():
    assert faults.short("config: not an object, but something else") == "config: not an object, b"
    assert faults.short("\u9053\u95f8\n") == "???"


class FakeOutput:
    def __init__(self):
        self.level = None

    def value(self, level):
        self.level = level

    def duty_u16(self, duty):
        self.level = 1 if duty else 0

    def freq(self, _hz):
        pass


def test_a_pattern_is_on_when_show_returns():
    green, red, buzzer, shaker = FakeOutput(), FakeOutput(), FakeOutput(), FakeOutput()
    flag = Flag()
    indicator = Indicator(flag, green, red, buzzer, shaker)
    assert [out.level for out in (green, red, buzzer, shaker)] == [0, 0, 0, 0]
    for name, steps in PATTERNS.items():
        indicator.show(name)
        on = [out.level for out in (green, red, buzzer, shaker)]
        assert on[0] == steps[0][2] & 1
        assert on[1] == steps[0][2] >> 1
        assert on[2] == 1
        assert sum(step[0] for step in steps) <= 2000
    # what was not stored never sounds like what was
    for name in ("refused", "unknown", "fault"):
        assert PATTERNS[name][0] != PATTERNS["taken"][0]
        assert PATTERNS[name][0][2] == 2
    Indicator(flag, None, None, None, None).show("taken")
    # a steady light waits for a pattern to end, and shines from then on (run() ends patterns)
    indicator.show("sos")
    indicator.rest(True)
    assert [green.level, red.level] == [0, 1]
    indicator = Indicator(flag, green, red, buzzer, shaker)
    indicator.rest(True)
    assert [out.level for out in (green, red, buzzer, shaker)] == [1, 0, 0, 0]
    indicator.show("sos")
    assert [green.level, red.level] == [0, 1]
    indicator = Indicator(flag, green, red, buzzer, shaker)
    indicator.rest(True)
    indicator.rest(False)
    assert green.level == 0
