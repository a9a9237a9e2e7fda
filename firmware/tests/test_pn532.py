# Bytes between the PN532's state machine and a model of the chip, wrong answers and silence included.
from drivers import pn532_frames as frames
from drivers.pn532 import ANSWER_MS, CHECK_MS, HOLD_MS, MAX_TRIES, RETRY_MS, Pn532

UID4 = bytes.fromhex("00a1b2c3")
UID7 = bytes.fromhex("04112233445566")
UID10 = bytes.fromhex("00010203040506070809")


def answer(code, data=b""):
    body = bytes([0xD5, code]) + data
    return bytes([0, 0, 0xFF, len(body), -len(body) & 0xFF]) + body + bytes([-sum(body) & 0xFF, 0])


def target(uid):
    return answer(0x4B, b"\x01\x01\x04\x00\x08" + bytes([len(uid)]) + uid)


SETUP = ((0x14, b"\x01\x14\x01"), (0x32, b"\x05\xff\x01\xff"))
LISTEN = frames.build(0x4A, b"\x01\x00")


def listening(now_ms=0):
    chip = Pn532(now_ms)
    for index, (code, data) in enumerate(SETUP):
        assert chip.poll(now_ms) == (b"" if index else frames.WAKE) + frames.build(code, data)
        assert chip.receive(frames.ACK, now_ms) is None
        assert chip.receive(answer(code + 1), now_ms) is None
    assert chip.poll(now_ms) == LISTEN
    assert chip.receive(frames.ACK, now_ms) is None
    assert chip.ready
    assert chip.poll(now_ms) == b""
    return chip


def test_frame_as_in_the_manual():
    # UM0701-02, GetFirmwareVersion
    assert frames.build(0x02) == bytes.fromhex("0000ff02fed4022a00")
    parser = frames.Parser()
    assert parser.feed(bytes.fromhex("0000ff00ff000000ff06fad50332010607e800")) == [
        frames.GOT_ACK,
        (0x03, bytes.fromhex("32010607")),
    ]
    assert parser.garbage == 0


def test_any_cut_gives_the_same():
    stream = frames.ACK + target(UID7) + frames.NACK + b"\x55\x00" + target(UID4)
    whole = frames.Parser().feed(stream)
    assert len(whole) == 4
    for cut in range(len(stream)):
        parser = frames.Parser()
        assert parser.feed(stream[:cut]) + parser.feed(stream[cut:]) == whole
    parser = frames.Parser()
    single = []
    for byte in stream:
        single += parser.feed(bytes([byte]))
    assert single == whole


def test_uids_of_every_length_keep_their_zeros():
    for uid in (UID4, UID7, UID10):
        chip = listening()
        assert chip.receive(target(uid), 5000) == uid
        assert chip.poll(5000) == b""
        assert chip.next_wake_ms() == 5000 + HOLD_MS
        assert chip.poll(5000 + HOLD_MS) == LISTEN


def test_other_lengths_are_no_uid():
    for length in (0, 1, 3, 5, 6, 8, 9, 11, 40):
        chip = listening()
        assert chip.receive(target(bytes(range(1, length + 1))), 5000) is None
        assert chip.errors == 1
    for data in (
        b"",
        b"\x01",
        b"\x01\x01\x04\x00\x08\x04\x01\x02\x03",
        b"\x02\x01\x04\x00\x08\x04\x01\x02\x03\x04",
    ):
        chip = listening()
        assert chip.receive(answer(0x4B, data), 5000) is None
        assert chip.errors == 1
    chip = listening()
    chip.receive(answer(0x4B, b"\x00"), 5000)
    assert chip.errors == 0  # an ended search, not an error
    assert chip.poll(5000 + HOLD_MS) == LISTEN


def test_a_card_that_stays_is_told_once():
    chip = listening()
    now_ms = 5000
    assert chip.receive(target(UID4), now_ms) == UID4
    for _ in range(20):
        now_ms += HOLD_MS
        assert chip.poll(now_ms) == LISTEN
        chip.receive(frames.ACK, now_ms + 2)
        now_ms += 30
        assert chip.receive(target(UID4), now_ms) is None
    # another card is another card, however quick
    now_ms += HOLD_MS
    chip.poll(now_ms)
    chip.receive(frames.ACK, now_ms)
    assert chip.receive(target(UID7), now_ms + 30) == UID7
    # gone, and back after a while
    now_ms += 30 + HOLD_MS
    chip.poll(now_ms)
    chip.receive(frames.ACK, now_ms)
    assert chip.receive(target(UID7), now_ms + 3000) == UID7


def test_silence_is_retried_then_rests_then_resets():
    chip = Pn532(0)
    now_ms = 0
    for _ in range(MAX_TRIES):
        assert chip.poll(now_ms) != b""
        now_ms += ANSWER_MS
        assert chip.next_wake_ms() == now_ms
    rest_ms = RETRY_MS
    for reset in range(1, 9):
        assert chip.poll(now_ms) == b""
        assert chip.resets == reset - 1
        assert not chip.ready
        assert chip.next_wake_ms() == now_ms + rest_ms
        now_ms += rest_ms
        rest_ms = min(rest_ms * 2, 30000)
        for _ in range(MAX_TRIES):
            assert chip.poll(now_ms).startswith(frames.WAKE)
            assert chip.resets == reset
            now_ms += ANSWER_MS


def test_comes_back_after_an_outage():
    chip = Pn532(0)
    now_ms = 0
    while not chip.resets:
        chip.poll(now_ms)
        now_ms = max(now_ms, chip.next_wake_ms())
    for code, _ in SETUP:
        chip.poll(now_ms)
        chip.receive(frames.ACK + answer(code + 1), now_ms)
    chip.poll(now_ms)
    chip.receive(frames.ACK, now_ms)
    assert chip.ready
    assert chip.receive(target(UID4), now_ms + 9000) == UID4


def test_nack_and_error_frame_repeat_the_command():
    for wrong in (frames.NACK, b"\x00\x00\xff\x01\xff\x7f\x81\x00"):
        chip = Pn532(0)
        first = chip.poll(0)
        chip.receive(wrong, 10)
        assert chip.errors == 1
        assert chip.poll(10) == first


def test_a_damaged_answer_is_asked_for_again():
    chip = listening()
    good = target(UID7)
    bad = bytearray(good)
    bad[12] ^= 0x40
    assert chip.receive(bytes(bad), 5000) is None
    assert chip.poll(5000) == frames.NACK
    assert chip.receive(good, 5010) == UID7


def test_damage_for_ever_starts_over():
    chip = listening()
    bad = bytearray(target(UID7))
    bad[12] ^= 1
    now_ms = 5000
    sent = []
    for _ in range(40):
        chip.receive(bytes(bad), now_ms)
        sent.append(chip.poll(now_ms))
        now_ms = max(now_ms + 10, chip.next_wake_ms())
    assert sent.count(frames.NACK) >= MAX_TRIES
    assert frames.ACK + LISTEN in sent


def test_a_lost_ack_does_not_lose_the_card():
    chip = listening()
    chip.receive(target(UID4), 5000)
    assert chip.poll(5000 + HOLD_MS) == LISTEN
    assert chip.receive(target(UID7), 5400) == UID7


def test_a_chip_that_forgot_is_found():
    chip = listening()
    now_ms = chip.next_wake_ms()
    assert now_ms == CHECK_MS
    assert chip.receive(b"", now_ms) is None
    assert chip.poll(now_ms) == frames.ACK + LISTEN
    # the old search's answer crosses: still a card
    assert chip.receive(target(UID10), now_ms + 5) == UID10


def test_noise_that_looks_like_a_long_frame():
    chip = listening()
    assert chip.receive(b"\x00\xff\xf0\x10", 1000) is None
    assert chip.receive(target(UID4), 1010) is None
    due_ms = chip.next_wake_ms()
    assert due_ms < 1200
    assert chip.receive(b"", due_ms) == UID4


def test_a_megabyte_of_garbage_is_bounded_and_harmless():
    chip = listening()
    state = 99
    now_ms = 1000
    for _ in range(600):
        block = bytearray()
        for _ in range(50):
            state = (state * 1103515245 + 12345) & 0x3FFFFFFF
            block.append(
                (0, 0xFF, 0xD5, 0x4B, 1, state >> 12 & 0xFF)[state >> 20 & 7 if state >> 20 & 7 < 6 else 5]
            )
        assert chip.receive(bytes(block), now_ms) is None
        chip.poll(now_ms)
        now_ms += 7
        assert len(chip._parser._buffer) <= 300
    # silence again: it recovers by itself
    found = None
    for _ in range(60):
        now_ms = max(now_ms + 1, chip.next_wake_ms())
        chip.receive(b"", now_ms)
        out = chip.poll(now_ms)
        for code, data in SETUP:
            if frames.build(code, data) in out:
                chip.receive(frames.ACK + answer(code + 1), now_ms)
        if LISTEN in out:
            chip.receive(frames.ACK, now_ms)
            now_ms += 1000
            found = chip.receive(target(UID4), now_ms)
    assert found == UID4


ECONOMY_SETUP = (SETUP[0], (0x32, b"\x05\xff\x01\x00"))
REST = frames.build(0x16, b"\x90\x00")
POCKET = frames.build(0x16, b"\x98\x01")


def economical(pause_ms=300):
    chip = Pn532(0, pause_ms=pause_ms)
    for code, data in ECONOMY_SETUP:
        assert chip.poll(0).endswith(frames.build(code, data))
        chip.receive(frames.ACK + answer(code + 1), 0)
    assert chip.poll(0) == LISTEN
    chip.receive(frames.ACK, 0)
    return chip


def test_on_battery_it_looks_once_powers_down_and_rests():
    chip = economical()
    assert chip.quiet
    now_ms = 30
    for _ in range(5):
        assert chip.receive(answer(0x4B, b"\x00"), now_ms) is None
        assert chip.poll(now_ms) == REST
        assert not chip.quiet
        chip.receive(frames.ACK + answer(0x17, b"\x00"), now_ms + 3)
        assert chip.quiet
        assert chip.next_wake_ms() == now_ms + 3 + 300
        assert chip.poll(now_ms + 302) == b""
        now_ms += 303
        assert chip.poll(now_ms) == frames.WAKE + LISTEN
        chip.receive(frames.ACK, now_ms)
        now_ms += 30
    assert chip.errors == 0
    assert chip.ready
    # no answer at all is found soon, not after a minute
    assert chip.next_wake_ms() <= now_ms + ANSWER_MS


def test_on_battery_a_card_that_left_is_a_new_card():
    chip = economical()
    assert chip.receive(target(UID4), 20) == UID4
    now_ms = 20 + HOLD_MS
    assert chip.poll(now_ms) == LISTEN  # still awake
    chip.receive(frames.ACK, now_ms)
    assert chip.receive(target(UID4), now_ms + 20) is None
    now_ms += 20 + HOLD_MS
    chip.poll(now_ms)
    chip.receive(frames.ACK, now_ms)
    chip.receive(answer(0x4B, b"\x00"), now_ms + 30)
    assert chip.poll(now_ms + 30) == REST
    chip.receive(frames.ACK + answer(0x17, b"\x00"), now_ms + 30)
    now_ms = chip.next_wake_ms()
    chip.poll(now_ms)
    chip.receive(frames.ACK, now_ms)
    assert chip.receive(target(UID4), now_ms + 20) == UID4


def test_from_mains_to_battery_and_back():
    chip = listening()
    chip.economy(300, 5000)
    assert chip.poll(5000) == frames.ACK + frames.build(*ECONOMY_SETUP[1])
    chip.receive(frames.ACK + answer(0x33), 5001)
    assert chip.poll(5001) == LISTEN
    chip.receive(frames.ACK, 5002)
    chip.receive(answer(0x4B, b"\x00"), 5030)
    assert chip.poll(5030) == REST
    chip.receive(frames.ACK + answer(0x17, b"\x00"), 5031)
    chip.economy(0, 5100)
    assert chip.poll(5100) == frames.WAKE + frames.build(*SETUP[1])
    chip.receive(frames.ACK + answer(0x33), 5101)
    assert chip.poll(5101) == LISTEN
    chip.receive(frames.ACK, 5102)
    assert chip.next_wake_ms() == 5102 + CHECK_MS
    assert chip.receive(target(UID7), 9000) == UID7


def test_pocket_powers_the_chip_down_from_every_phase():
    for economy in (False, True):
        for after in range(5):
            chip = economical() if economy else listening()
            now_ms = 5000
            if after == 1:
                chip.receive(target(UID4), now_ms)
            if after == 2:
                chip.receive(answer(0x4B, b"\x00"), now_ms)
            if after >= 3:
                chip.receive(answer(0x4B, b"\x00"), now_ms)
                chip.poll(now_ms + HOLD_MS)
            if after == 4:
                chip.receive(frames.ACK, now_ms + HOLD_MS)
                chip.receive(answer(0x17, b"\x00"), now_ms + HOLD_MS)
            now_ms += HOLD_MS
            chip.pocket(now_ms)
            sent = b""
            for _ in range(40):
                out = chip.poll(now_ms)
                sent += out
                for reply, command in ((0x33, ECONOMY_SETUP[1]), (0x17, (0x16, b"\x98\x01"))):
                    if frames.build(*command) in out:
                        chip.receive(frames.ACK + answer(reply, b"\x00"), now_ms)
                if chip.off:
                    break
                now_ms = max(now_ms + 1, min(chip.next_wake_ms(), now_ms + ANSWER_MS))
            assert chip.off, (economy, after)
            assert chip.quiet
            assert POCKET in sent
            assert chip.poll(now_ms + 3_600_000) == b""


def test_an_answer_that_woke_the_host_is_fetched_again():
    chip = listening()
    chip.woken(7000)
    assert not chip.quiet
    assert chip.poll(7000) == frames.NACK
    assert chip.receive(target(UID10)[3:], 7001) is None  # the tail of what was lost
    assert chip.receive(target(UID10), 7005) == UID10
    # nothing to repeat: the search starts again
    chip = listening()
    chip.woken(7000)
    assert chip.poll(7000) == frames.NACK
    assert chip.poll(7000 + ANSWER_MS) == frames.ACK + LISTEN
