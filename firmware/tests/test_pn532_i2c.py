# The PN532 on I2C, byte by byte: the state machine, its port, and a model of the chip at address 0x24 that is not
# ready, does not acknowledge, falls silent, sleeps or sends wrong checksums.
from drivers import pn532_frames as frames
from drivers.pn532 import ANSWER_MS, HOLD_MS, Pn532
from drivers.pn532_i2c import ADDRESS, I2cPort, frame

UID4 = bytes.fromhex("00a1b2c3")
UID7 = bytes.fromhex("04112233445566")
UID10 = bytes.fromhex("00010203040506070809")
NOT_READY, MUTE, NO_ACKNOWLEDGE, GARBLED, GARBLED_ONCE, CHATTY = range(1, 7)


def answer(code, data=b""):
    body = bytes([0xD5, code]) + data
    return bytes([0, 0, 0xFF, len(body), -len(body) & 0xFF]) + body + bytes([-sum(body) & 0xFF, 0])


# The chip: what it answers to which bytes. value() is its IRQ line.
class Chip:
    def __init__(self):
        self.asleep = True
        self.fault = 0
        self.card = b""
        self.waiting = []
        self.last = b""
        self.endless = True
        self.searching = False
        self.commands = []
        self.writes = []
        self.naps = 0

    def value(self):
        return 0 if self.waiting else 1

    def sleep_ms(self, ms):
        assert ms > 0
        self.naps += 1

    def writeto(self, address, data):
        assert address == ADDRESS
        if self.fault == NO_ACKNOWLEDGE:
            raise OSError(19)
        if self.asleep:
            self.asleep = False  # the address woke it, it was not there for this one
            raise OSError(19)
        self.writes.append(bytes(data))
        if self.fault == MUTE:
            return
        if data == frames.ACK:
            self.searching = False
            self.waiting = []
            return
        if data == frames.NACK:
            self.waiting = [self.last]
            return
        assert data[:3] == b"\x00\x00\xff"
        assert data[3] + data[4] & 0xFF == 0
        body = data[5 : 6 + data[3]]
        assert sum(body) & 0xFF == 0
        assert body[0] == 0xD4
        assert len(data) == 7 + data[3]
        self.waiting = [frames.ACK]
        self.searching = False
        self.run(body[1], body[2:-1])

    def run(self, code, data):
        self.commands.append(code)
        if code == 0x4A:
            self.searching = True
            self.look()
        elif code == 0x16:
            self.say(answer(0x17, b"\x00"))
        else:
            if code == 0x32:
                self.endless = data[3] == 0xFF
            self.say(answer(code + 1))

    def look(self):
        if self.searching and self.card:
            self.searching = False
            self.say(answer(0x4B, b"\x01\x01\x04\x00\x08" + bytes([len(self.card)]) + self.card))
        elif self.searching and not self.endless:
            self.searching = False
            self.say(answer(0x4B, b"\x00"))

    def say(self, data):
        self.last = data
        self.waiting.append(data)

    def readfrom(self, address, length):
        assert address == ADDRESS
        if self.fault == NO_ACKNOWLEDGE:
            raise OSError(19)
        if not self.waiting or self.fault == NOT_READY:
            return bytes(length)
        data = b"\x01" + self.waiting.pop(0)
        if self.fault in (GARBLED, GARBLED_ONCE) and len(data) > 7:
            data = data[:-2] + bytes([data[-2] ^ 0x10]) + data[-1:]
            self.fault = self.fault if self.fault == GARBLED else 0
        assert length >= len(data)
        # behind a frame: whatever is in the buffer, here the worst, the head of another frame
        return (data + (b"\x00\x00\xff\x05\xfb\xd5" if self.fault == CHATTY else b"\xff") * length)[:length]


# The reader's loop without asyncio, for `ms` -> UIDs
def play(chip, machine, port, now_ms, ms):
    found = []
    end_ms = now_ms + ms
    while now_ms <= end_ms:
        data = port.read() if port.any() else None
        uid = machine.receive(data or b"", now_ms)
        if uid is not None:
            found.append(uid)
        out = machine.poll(now_ms)
        if out:
            port.write(out)
        if machine._phase == 6:  # powered down between two looks
            chip.asleep = True
        now_ms += 2 if chip.waiting or out else max(2, min(machine.next_wake_ms(), end_ms + 2) - now_ms)
    return found


def setup(pause_ms=0):
    chip = Chip()
    machine = Pn532(0, b"", pause_ms)
    port = I2cPort(chip, chip, chip.sleep_ms)
    return chip, machine, port


def ready(pause_ms=0):
    chip, machine, port = setup(pause_ms)
    assert play(chip, machine, port, 0, 100) == []
    assert machine.ready
    return chip, machine, port


def test_the_frame_is_cut_out_of_what_was_read():
    card = answer(0x4B, b"\x01\x01\x04\x00\x08\x04" + UID4)
    for tail in (b"", b"\xff" * 30, b"\x00" * 30, b"\x00\x00\xff\x05\xfb"):
        for whole in (frames.ACK, frames.NACK, card, answer(0x15)):
            assert frame(whole + tail) == whole
    for nonsense in (b"", b"\x00", b"\xff" * 64, b"\x00" * 64, b"\x00\xff\x03"):
        assert frame(nonsense) == nonsense


def test_a_sleeping_chip_is_woken_by_its_address_and_set_up():
    chip, machine, port = ready()
    assert port.errors == 1
    assert chip.naps == 1
    assert chip.commands == [0x14, 0x32, 0x4A]
    assert not any(b"\x55" in write for write in chip.writes)  # the UART's way to wake it
    assert machine.errors == 0


def test_uids_of_every_length():
    for uid in (UID4, UID7, UID10):
        for pause_ms in (0, 300):
            chip, machine, port = ready(pause_ms)
            chip.card = uid
            chip.look()
            assert play(chip, machine, port, 1000, 2000) == [uid]
            chip.card = b""
            assert play(chip, machine, port, 4000, 2000) == []


def test_what_follows_a_frame_is_not_taken_for_one():
    chip, machine, port = ready()
    chip.fault = CHATTY
    chip.card = UID7
    chip.look()
    assert play(chip, machine, port, 1000, 5 * HOLD_MS) == [UID7]
    assert machine.errors == 0


def test_not_ready_is_asked_again_later():
    chip, machine, port = ready()
    chip.fault = NOT_READY
    chip.card = UID4
    chip.look()
    assert port.any()
    assert port.read() is None
    assert play(chip, machine, port, 1000, 50) == []
    chip.fault = 0
    assert play(chip, machine, port, 1100, 100) == [UID4]


def test_silence_is_found_and_survived():
    for fault in (MUTE, NO_ACKNOWLEDGE, NOT_READY):
        chip, machine, port = ready(300)
        chip.fault = fault
        assert play(chip, machine, port, 1000, 20_000) == []
        assert not machine.ready
        assert machine.resets >= 1
        chip.fault = 0
        chip.card = UID4
        assert UID4 in play(chip, machine, port, 21_100, 70_000)
        assert machine.ready


def test_a_wrong_checksum_is_answered_with_nack_and_repeated():
    chip, machine, port = ready()
    chip.fault = GARBLED_ONCE
    chip.card = UID10
    chip.look()
    assert play(chip, machine, port, 1000, 200) == [UID10]
    assert chip.writes.count(frames.NACK) == 1
    assert machine.errors == 1


def test_wrong_for_ever_is_no_card_and_no_end():
    chip, machine, port = ready()
    chip.fault = GARBLED
    chip.card = UID10
    chip.look()
    assert play(chip, machine, port, 1000, 120_000) == []
    assert chip.writes.count(frames.NACK) <= 3 * (120_000 // ANSWER_MS + 1)  # paced
    chip.fault = 0
    assert UID10 in play(chip, machine, port, 122_000, 120_000)


def test_the_chips_error_frame_and_nack_repeat_the_command():
    for wrong in (frames.NACK, b"\x00\x00\xff\x01\xff\x7f\x81\x00"):
        chip, machine, port = ready()
        machine._due_ms = 0
        port.write(machine.poll(70_000))
        chip.waiting = [wrong]
        chip.card = UID4
        assert play(chip, machine, port, 70_001, ANSWER_MS) == [UID4]


def test_ending_a_search_is_a_transfer_of_its_own():
    chip, machine, port = ready()
    machine.pocket(5000)
    chip.writes = []
    play(chip, machine, port, 5000, 200)
    assert machine.off
    assert chip.writes[0] == frames.ACK
    assert chip.writes[-1] == frames.build(0x16, b"\x98\x01")
    assert chip.commands[-1] == 0x16
