# What arrives at a device from anybody but its edge: counted by reason, without effect. Plain functions: they
# also run on the real VM.
from firmware.tests.peer import DEVICE, Edge, Lab
from gatelink import cose, messages


# A lab in session, in the middle of its work, and what no foreign frame may change.
def busy(seed):
    lab = Lab(seed, delay_ms=(20, 20))
    for _ in range(20):
        lab.record()
    lab.run(1000)
    lab.up = False
    for _ in range(5):
        lab.record()
    lab.poll()
    lab.run(1200)
    return lab


def state(lab):
    uplink = lab.uplink
    flights = [(one.first, one.last, one.sent_ms, one.due_ms, one.tries) for one in uplink._flights]
    rest = (
        uplink.online,
        uplink._cursor,
        uplink._down_piv,
        uplink._silence,
        uplink._window,
        lab.clock.anchor,
    )
    journal = lab.journal
    return (
        flights,
        rest,
        list(uplink._answers),
        list(uplink._results),
        list(lab.commands),
        (journal.acked_seq, journal.next_seq, journal.chain()),
    )


def open_now(lab, cmd_id=1):
    return messages.Command(cmd_id, messages.OPEN, lab.uptime_ms() + 1500, None)


# frames: none of them may have an effect. Returns the counters.
def feed(lab, frames):
    before = state(lab)
    count = 0
    for frame in frames:
        lab.uplink.receive(frame, lab.uptime_ms())
        count += 1
    assert state(lab) == before
    assert sum(lab.uplink.rejects.values()) == count
    return lab.uplink.rejects


def test_noise():
    lab = busy(1)
    rand = lab.rand
    frames = [b""]
    good = lab.edge.send(open_now(lab))
    for _ in range(400):
        noise = bytes(rand.getrandbits(8) for _ in range(rand.getrandbits(6)))
        frames.append(noise)
        frames.append(good[: rand.getrandbits(5)] + noise)
    frames.append(b"\x83" * 5000)
    rejects = feed(lab, frames)
    assert {"truncated", "bad_header", "too_long"} <= set(rejects)
    assert set(rejects) <= {
        "truncated",
        "bad_header",
        "too_long",
        "trailing",
        "not_authentic",
        "unknown_device",
    }


def test_every_bit_flipped():
    lab = busy(2)
    good = lab.edge.send(open_now(lab))
    frames = []
    for bit in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        frames.append(bytes(flipped))
    rejects = feed(lab, frames)
    assert rejects["not_authentic"] > 100
    assert rejects["unknown_device"] == 32
    # and the one that is whole does act
    lab.uplink.receive(good, lab.uptime_ms())
    assert len(lab.commands) == 1


def test_every_truncation():
    lab = busy(3)
    good = lab.edge.send(open_now(lab))
    assert set(feed(lab, [good[:size] for size in range(len(good))])) == {"truncated"}


def test_replays():
    lab = busy(4)
    frames = [lab.edge.send(open_now(lab)), lab.edge.send(lab.edge.ack()), lab.edge.send(open_now(lab, 2))]
    late = lab.edge.send(lab.edge.ack())
    newest = lab.edge.send(lab.edge.ack())
    for frame in frames + [newest]:
        lab.uplink.receive(frame, lab.uptime_ms())
    assert len(lab.commands) == 2
    assert feed(lab, frames + [late, newest, frames[0]]) == {"replayed": 6}


def test_reflected_frames():
    lab = busy(5)
    own = [lab.uplink._seal(messages.Result(1, 0, "")) for _ in range(20)]
    assert feed(lab, own) == {"not_authentic": 20}


def test_other_keys_devices_and_epochs():
    lab = busy(6)
    frames = []
    plain = messages.encode(open_now(lab))
    nonce = lab.uplink._nonce
    for keys in (
        cose.derive(b"\x55" * 32, DEVICE, 1),
        cose.derive(bytes(range(32)), DEVICE, 0),
        cose.derive(bytes(range(32)), DEVICE, 2),
    ):
        frames += [cose.seal(keys, cose.DOWN, 5000 + piv, plain, nonce) for piv in range(20)]
    other = cose.derive(bytes(range(32)), DEVICE + 1, 1)
    frames += [cose.seal(other, cose.DOWN, 5000 + piv, plain, nonce) for piv in range(20)]
    assert feed(lab, frames) == {"not_authentic": 60, "unknown_device": 20}


def test_frames_of_an_earlier_boot():
    lab = busy(7)
    kept = [lab.edge.send(open_now(lab, number)) for number in range(10)]
    kept.append(lab.edge.send(lab.edge.ack()))
    lab.reboot()
    assert feed(lab, kept) == {"not_authentic": 11}


def test_an_authentic_edge_that_talks_nonsense():
    lab = busy(8)
    edge = lab.edge

    def seal(plaintext):
        edge.piv += 1
        return cose.seal(edge.keys, cose.DOWN, edge.piv, plaintext, edge.nonce)

    before = state(lab)
    lines = (
        b"",
        b"\x80",
        b"\x00",
        b"\x81\x18\x63",
        b"\x81\x01",
        b"\x83\x02\x01\x80",
        b"\x84\x02\x01\x80\xf6\x00",
        b"\x84\x02\x01\x81\x82\x05\x03\xf6",
        b"\x9f\xff",
        b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x81" * 40,
    )
    for line in lines:
        lab.uplink.receive(seal(line), lab.uptime_ms())
    # an acknowledgement of what was never minted, a welcome to no hello
    lab.uplink.receive(edge.send(messages.Ack(9999, [], None)), lab.uptime_ms())
    now_ms = lab.uptime_ms()
    lab.uplink.receive(edge.send(messages.Welcome(now_ms + 5, 0, 0, 1, 4)), now_ms)
    lab.uplink.receive(edge.send(messages.Welcome(now_ms, 0, 0, 0xFFFFFFF0, 4)), now_ms)
    # a clock for a status that was never sent
    lab.uplink.receive(edge.send(messages.Ack(1, [], (12345, 99, 0))), now_ms)
    after = state(lab)
    assert sum(lab.uplink.rejects.values()) == len(lines) + 3
    assert before[2:] == after[2:]
    assert lab.clock.anchor == before[1][5]


def test_a_flood_stays_bounded():
    lab = busy(9)
    edge = lab.edge
    for number in range(500):
        lab.uplink.receive(
            edge.send(messages.Command(number, 99, lab.uptime_ms() + 10, None)), lab.uptime_ms()
        )
        lab.uplink.urgent(number)
    assert len(lab.uplink._answers) <= 16
    assert len(lab.uplink._results) <= 8
    assert len(lab.uplink._alarms) <= 8
    assert len(lab.uplink.poll(lab.uptime_ms())) <= 16 + 24 + 16


def test_before_any_hello_nothing_is_believed():
    lab = Lab(10)
    edge = Edge()
    edge.nonce = lab.uplink._nonce
    lab.uplink.receive(edge.send(messages.Welcome(0, 1, 1, 0, 4)), 0)
    assert not lab.uplink.online
    assert lab.clock.anchor is None
