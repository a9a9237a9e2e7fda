# The uplink against an edge built on the same codec, over links of every kind. Plain functions: they also run
# on the real VM.
from firmware.tests.peer import EPOCH_MS, Lab
from gatelink import cose, events, messages
from node.uplink import STATUS_MS


def test_a_live_event_is_there_at_once():
    lab = Lab(1)
    lab.run(1000)
    assert lab.uplink.online
    lab.record()
    lab.run(1100)
    assert lab.settled()
    lab.check()
    assert len(lab.edge.hellos) == 1


def test_idle_costs_next_to_nothing():
    lab = Lab(2)
    lab.run(1000)
    polls, sent = lab.polls, lab.sent
    lab.run(1000 + 10 * STATUS_MS)
    assert lab.sent - sent <= 11
    assert lab.polls - polls <= 33


def test_a_backlog_goes_in_full_frames():
    lab = Lab(3)
    for _ in range(400):
        lab.record()
        lab.now_ms += 1700
    lab.run(lab.now_ms + 10_000, lab.settled)
    lab.check()
    assert lab.edge.frames <= 400 // 30 + 4
    assert 450 < lab.edge.largest <= 512
    assert lab.edge.duplicates == 0


def test_lossy_links():
    for seed in range(12):
        lab = Lab(seed, loss=0.3, doubled=0.2, delay_ms=(1, 600))
        for _ in range(60):
            for _ in range(lab.rand.getrandbits(3)):
                lab.record(*((events.SOS, None) if lab.rand.getrandbits(4) == 0 else (events.VISIT,)))
            lab.run(lab.now_ms + lab.rand.randint(1, 4000))
        lab.run(lab.now_ms + 3_600_000, lab.settled)
        assert lab.settled(), seed
        lab.check()


def test_outages_reboots_and_restarts():
    for seed in range(8):
        lab = Lab(100 + seed, loss=0.1, doubled=0.05, delay_ms=(1, 100))
        for _ in range(40):
            for _ in range(lab.rand.getrandbits(3)):
                lab.record()
            fate = lab.rand.randint(0, 5)
            if fate == 0:
                lab.up = not lab.up
            elif fate == 1:
                lab.reboot()
            elif fate == 2:
                # an edge that forgot the session (its store is intact): it can't even answer
                lab.edge.nonce = b""
            lab.run(lab.now_ms + lab.rand.randint(1, 60_000))
        lab.up = True
        lab.run(lab.now_ms + 3_600_000, lab.settled)
        assert lab.settled(), seed
        lab.check()


def test_a_link_that_comes_back_is_used_within_75_s():
    lab = Lab(4)
    lab.run(1000)
    lab.up = False
    lab.record()
    lab.run(3_600_000)
    assert not lab.uplink.online
    lab.up = True
    lab.run(3_600_000 + 75_000, lab.settled)
    assert lab.settled()


def test_an_alarm_does_not_wait_for_the_next_try():
    lab = Lab(5)
    lab.run(1000)
    lab.up = False
    lab.record()
    lab.run(3_600_000)
    lab.up = True
    seq = lab.record(events.SOS, None)
    lab.run(3_602_500)
    assert seq in lab.edge.held


def test_an_alarm_overtakes_the_backlog():
    lab = Lab(6, delay_ms=(200, 200))
    lab.edge.flight_window = 1
    for _ in range(400):
        lab.record()
    lab.run(1100)
    seq = lab.record(events.SOS, None)
    lab.run(1500)
    assert lab.edge.arrived.index(seq) < 150
    lab.run(60_000, lab.settled)
    lab.check()


def test_alarms_ahead_survive_loss():
    for seed in range(5):
        lab = Lab(seed, loss=0.4, delay_ms=(50, 300))
        for _ in range(200):
            lab.record()
        lab.run(3000)
        for _ in range(12):
            lab.record(events.SOS, None)
            lab.record()
            lab.run(lab.now_ms + 100)
        lab.run(3_600_000, lab.settled)
        assert lab.settled(), seed
        lab.check()


def test_an_edge_without_its_store_gets_everything_again():
    lab = Lab(7)
    for _ in range(100):
        lab.record()
    lab.run(20_000, lab.settled)
    lab.edge.__init__()
    lab.run(lab.now_ms + 200_000, lambda: lab.edge.acked == 100)
    lab.check()


def test_damage_is_told_as_skipped():
    lab = Lab(8)
    for _ in range(200):
        lab.record()
    for seq in (1, 2, 90, 150, 151, 152, 200):
        lab.nor.data[(seq - 1) * 64 + 20] ^= 4
    lab.run(120_000)
    # the last one is told with the next event
    assert lab.edge.skipped == {1, 2, 90, 150, 151, 152}
    assert lab.edge.acked == 199
    sent = lab.sent
    lab.run(120_000 + 10 * STATUS_MS)
    assert lab.sent - sent <= 30
    lab.record()
    lab.run(lab.now_ms + 20_000, lab.settled)
    assert lab.edge.skipped == {1, 2, 90, 150, 151, 152, 200}
    assert lab.settled()
    for seq, event in lab.edge.held.items():
        assert lab.truth[seq] == event


def test_a_wiped_journal_goes_on_behind_what_the_edge_has():
    lab = Lab(9)
    for _ in range(300):
        lab.record()
    lab.run(60_000, lab.settled)
    lab.nor.data[:] = b"\xff" * len(lab.nor.data)
    lab.marks.store(0, 0)
    lab.truth.clear()
    lab.reboot()
    lab.record(events.BOOT, 1, "x")
    lab.run(lab.now_ms + 2000)
    assert lab.journal.next_seq == 301
    assert lab.journal.loss == (2, 300)
    assert lab.record() == 301
    lab.run(lab.now_ms + 20_000, lab.settled)
    assert lab.edge.held[301] == lab.truth[301]


def test_anchors():
    lab = Lab(10, delay_ms=(10, 30))
    lab.run(1000)
    uptime_ms, edge_ms, error_ms = lab.edge.statuses[0].anchor
    assert abs(edge_ms - EPOCH_MS - uptime_ms) <= error_ms
    assert error_ms <= 5 + 31
    lab.record()
    lab.run(1_000_000)
    for status in lab.edge.statuses:
        uptime_ms, edge_ms, error_ms = status.anchor
        assert abs(edge_ms - EPOCH_MS - uptime_ms) <= error_ms
    assert lab.edge.statuses[-1].anchor[0] > 800_000


def test_a_hello_that_lay_in_a_buffer_makes_no_anchor():
    lab = Lab(15, delay_ms=(10, 10))
    lab.record()
    lab.up = False
    lab.run(10_000)
    lab.up = True
    # the first hello turns up now, answered now
    hello = messages.Hello(1, 1, lab.uplink._nonce, 0, 1, "test", 1, 2)
    plain = messages.encode(hello)
    lab.post(True, cose.seal(lab.keys.keys, cose.UP, lab.keys.next_piv(), plain))
    lab.run(10_200)
    assert lab.uplink.online
    assert lab.settled()
    anchors = [status.anchor for status in lab.edge.statuses]
    assert anchors[0] is None
    assert anchors[1][2] < 100
    assert lab.edge.arrived_ms[1] >= lab.edge.anchored_ms


def test_an_edge_that_learns_the_time_late():
    lab = Lab(11)
    lab.edge.knows_time = False
    lab.record()
    lab.run(1000)
    assert lab.settled()
    assert lab.edge.statuses[0].anchor is None
    lab.edge.knows_time = True
    lab.run(1000 + 3 * STATUS_MS)
    assert lab.edge.statuses[-1].anchor is not None


def test_status_says_how_it_stands():
    lab = Lab(12)
    for _ in range(5):
        lab.record()
    lab.run(1000)
    status = lab.edge.statuses[0]
    assert (status.pending, status.battery_mv, list(status.refused)) == (5, 3900, [0, 0, 0])
    assert (status.chain_seq, status.chain_mac8) == lab.journal.chain()


def test_commands_act_once_and_in_time():
    lab = Lab(13)
    lab.run(1000)

    def order(cmd_id, action, ahead_ms, argument=None):
        frame = lab.edge.send(messages.Command(cmd_id, action, lab.uptime_ms() + ahead_ms, argument))
        lab.post(False, frame, certain=True)
        lab.run(lab.now_ms + 200)
        return lab.edge.results[-1]

    assert order(1, messages.OPEN, 1500) == messages.Result(1, messages.DONE, "")
    assert order(1, messages.OPEN, 1500) == messages.Result(1, messages.DONE, "")
    assert len(lab.commands) == 1
    # already over when it arrives, or meant for later than anybody should wait in front of a boom
    assert order(2, messages.OPEN, 0).code == messages.STALE
    assert order(3, messages.CLOSE, 5000).code == messages.STALE
    assert order(3, messages.CLOSE, 1500).code == messages.STALE
    assert order(4, messages.BEEP, 5000).code == messages.UNKNOWN_ACTION
    assert order(5, 99, 100).code == messages.UNKNOWN_ACTION
    assert [action for _, action, _ in lab.commands] == [messages.OPEN, messages.BEEP, 99]


def test_config_and_update_are_not_yet():
    lab = Lab(14, delay_ms=(20, 20))
    lab.run(1000)
    lab.post(False, lab.edge.send(messages.Config(1, 77, 10, 0, b"x" * 10)))
    lab.post(False, lab.edge.send(messages.Update("a.mpy", 10, 0, b"x" * 10)))
    lab.run(1200)
    assert sorted((found.cmd_id, found.code) for found in lab.edge.results) == [(0, 4), (77, 4)]


def test_alarms_ahead_do_not_block_the_backlog_that_settles_them():
    for window in (1, 4, 16):
        lab = Lab(60 + window, loss=0.5, delay_ms=(200, 400))
        lab.edge.flight_window = window
        for _ in range(300):
            lab.record()
        lab.run(20_000)
        for _ in range(60):
            lab.record(events.SOS, None)
            lab.run(lab.now_ms + 150)
        lab.loss = 0
        lab.run(lab.now_ms + 200_000, lab.settled)
        assert lab.settled(), window
        lab.check()
