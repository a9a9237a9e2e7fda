"""A polled bus from journal to store: real device code, real poller, real agent, one simulated line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.tests.bus import FIRST, Bus, alarm_bound_us
from gatelink import bus as bus_blocks
from gatelink import events, framing, messages

S = 1_000_000
Made = Callable[..., Bus]


@pytest.fixture
async def made(tmp_path: Path) -> Iterator[Made]:
    buses: list[Bus] = []

    def make(*arguments: object, **more: object) -> Bus:
        folder = tmp_path / str(len(buses))
        folder.mkdir()
        bus = Bus(folder, *arguments, **more)  # type: ignore[arg-type]
        buses.append(bus)
        return bus

    yield make
    for bus in buses:
        bus.close()


async def test_everybody_is_found_and_heard(made: Made) -> None:
    bus = made(32, 1)
    for device in bus.devices:
        device.record(events.BOOT, 1, "bus")
    bus.run(10 * S, lambda: bus.settled)
    print(f"32 devices from nothing to settled in {bus.now_us / S:.2f} s")
    assert bus.settled
    assert bus.check() == 32
    assert bus.now_us < 5 * S
    assert sorted(bus.presence) == [(FIRST + n, 1) for n in range(32)]


async def test_a_backlog_of_all_is_shared_fairly(made: Made) -> None:
    bus = made(32, 2)
    for device in bus.devices:
        for _ in range(300):
            device.record()
    bus.run(3 * S)  # everybody is online by now
    before = [station.grants for station in bus.poller.stations]
    bytes_before = len(bus.arrived)
    while all(device.journal.pending > 60 for device in bus.devices):
        bus.run(bus.now_us + S // 10)
    shares = [station.grants - had for station, had in zip(bus.poller.stations, before, strict=True)]
    rate = (len(bus.arrived) - bytes_before) / (bus.now_us / S - 3)
    print(f"grants while all had a backlog: {min(shares)} to {max(shares)}; {rate:,.0f} events/s")
    assert min(shares) >= 5
    assert max(shares) - min(shares) <= 2
    bus.run(200 * S, lambda: bus.settled)
    assert bus.check() == 32 * 300
    assert bus.collisions == 0  # the poller speaks into nobody's turn
    print(f"9,600 events in {bus.now_us / S:.1f} s, errors {bus.errors}")


@pytest.mark.parametrize("baudrate", [9_600, 19_200, 115_200])
async def test_an_alarm_waits_for_a_round_at_most(made: Made, baudrate: int) -> None:
    bus = made(32, baudrate, baudrate=baudrate)
    for device in bus.devices:
        for _ in range(900 if baudrate > 20_000 else 200):
            device.record()
    bus.run(30 * S, lambda: all(device.uplink.online for device in bus.devices))
    waits = []
    for _ in range(40):
        device = bus.rng.choice(bus.devices)
        seq = device.record(events.FORCED)
        begun_us = bus.now_us
        bus.run(begun_us + 60 * S, lambda d=device, s=seq: (d.device, s) in bus.arrived)
        waits.append(bus.now_us - begun_us)
        bus.run(bus.now_us + bus.rng.randrange(S))
    bound_us = alarm_bound_us(32, baudrate, 20_000)
    assert any(device.journal.pending > 60 for device in bus.devices)
    print(
        f"{baudrate} baud, 32 devices with a backlog: 40 alarms, mean {sum(waits) / 40 / S:.2f} s, "
        f"longest {max(waits) / S:.2f} s, computed bound {bound_us / S:.2f} s; {bus.errors}"
    )
    assert max(waits) <= bound_us


async def test_offline_after_8_s_once_and_found_again(made: Made) -> None:
    bus = made(8, 3)
    gone = bus.devices[3]
    bus.run(5 * S)
    assert len(bus.presence) == 8
    gone.plugged = False
    left_us = bus.now_us
    for second in range(20):
        gone.record()
        bus.devices[0].record()
        bus.run(bus.now_us + S)
        if len(bus.presence) == 9 and second > 7:
            break
    offline_us = bus.now_us - left_us
    assert bus.presence[8:] == [(gone.device, 0)]
    assert bus.jams == []
    assert 8 * S < offline_us < 10 * S
    bus.run(bus.now_us + 10 * S)
    missed = set(gone.truth)
    gone.plugged = True
    back_us = bus.now_us
    bus.run(back_us + 10 * S, lambda: len(bus.presence) == 10)
    found_us = bus.now_us - back_us
    assert bus.presence[8:] == [(gone.device, 0), (gone.device, 1)]
    assert found_us < 1 * S
    bus.run(bus.now_us + 5 * S, lambda: bus.settled)
    for _ in range(5):
        gone.record()
        bus.run(bus.now_us + S)
    bus.check()
    # What it read while nobody heard it is never shown as live; what it reads now is.
    live = {seq for device, seq, _ in bus.live if device == gone.device}
    assert live & missed == {seq for seq in missed if gone.recorded_us[seq] > back_us - 5 * S}
    assert live >= set(gone.truth) - missed
    assert max(age for _, _, age in bus.live) <= 5_000
    print(f"offline after {offline_us / S:.1f} s, found again after {found_us / S:.2f} s; live: {len(bus.live)} reads")


async def test_the_line_itself_is_cut(made: Made) -> None:
    bus = made(32, 4)
    bus.run(5 * S)
    for device in bus.devices:
        device.plugged = False
    bus.run(25 * S)
    assert sorted(bus.presence[32:]) == [(FIRST + n, 0) for n in range(32)]
    assert bus.jams == []
    for device in bus.devices:
        device.plugged = True
        device.record()
    bus.run(60 * S, lambda: len(bus.presence) == 96)
    print(f"32 devices found again {bus.now_us / S - 25:.1f} s after the line was whole")
    assert bus.now_us < 35 * S
    bus.run(bus.now_us + 5 * S, lambda: bus.settled)
    bus.check()


async def test_dead_devices_do_not_eat_the_bus(made: Made) -> None:
    bus = made(32, 5)
    for device in bus.devices[4:]:
        device.plugged = False
    bus.run(20 * S)
    waits = []
    for _ in range(30):
        seq = bus.devices[0].record()
        begun_us = bus.now_us
        bus.run(begun_us + 5 * S, lambda seq=seq: (FIRST, seq) in bus.arrived)
        waits.append(bus.now_us - begun_us)
        bus.run(bus.now_us + bus.rng.randrange(S))
    print(f"4 of 32 alive: an event takes {max(waits) / S:.2f} s at most, mean {sum(waits) / 30 / S:.2f} s")
    assert max(waits) < S
    late = bus.devices[20]
    late.plugged = True
    begun_us = bus.now_us
    bus.run(begun_us + 60 * S, lambda: (late.device, 1) in bus.presence)
    print(f"one of 28 dead ones found {(bus.now_us - begun_us) / S:.1f} s after its return")
    assert bus.now_us - begun_us < 20 * S


@pytest.mark.parametrize("seed", range(4))
async def test_noise_collisions_and_late_answers(made: Made, seed: int) -> None:
    bus = made(8, 100 + seed, noise=0.002)
    bus.devices[2].late = 0.1
    bus.devices[5].late = 0.05
    for step in range(120):
        for device in bus.devices:
            if bus.rng.random() < 0.4:
                device.record(*((events.FORCED,) if bus.rng.random() < 0.1 else ()))
        if step % 10 == 5:  # somebody speaks whose turn it is not
            bus.after(bus.rng.randrange(S), lambda: bus.talk(bus.rng.randbytes(60), None))
        if step == 60:
            bus.devices[6].start()  # and loses its power for a moment
        bus.run(bus.now_us + S // 2)
    noise, bus.noise = bus.noise, 0
    bus.run(bus.now_us + 120 * S, lambda: bus.settled)
    count = bus.check()
    print(
        f"seed {100 + seed}: {count} events once each; {bus.flips} bit errors ({noise}), {bus.collisions} collisions, "
        f"refused {dict(sorted(bus.errors.items()))}, presence {len(bus.presence)}, live {len(bus.live)}"
    )
    assert bus.collisions > 0
    assert bus.flips > 50
    assert bus.errors.get("late", 0) > 0
    # a bad line takes nobody off the list
    assert bus.presence == [(d, 1) for d, _ in bus.presence]
    assert all(age <= 5_000 for _, _, age in bus.live)


async def test_somebody_who_will_not_stop(made: Made) -> None:
    bus = made(6, 7)
    bus.run(3 * S)

    def babble(until_us: int) -> None:
        bus.talk(bus.rng.randbytes(200), None)
        if bus.now_us < until_us:
            bus.after(20_000, lambda: babble(until_us))

    babble(bus.now_us + 20 * S)
    for device in bus.devices:
        device.record()
    bus.run(bus.now_us + 20 * S)
    assert sorted(bus.presence[6:]) == [(FIRST + n, 0) for n in range(6)]
    bus.run(bus.now_us + 10 * S, lambda: bus.settled and len(bus.presence) == 18)
    assert bus.check() == 6
    assert sorted(bus.presence[12:]) == [(FIRST + n, 1) for n in range(6)]
    print(f"20 s of babble: {bus.errors}; all back {bus.now_us / S - 23:.1f} s after it")
    bus.run(bus.now_us + 2 * S)
    assert bus.jams == [(94, "bus"), (81, "bus")]


async def test_a_command_goes_first(made: Made) -> None:
    bus = made(32, 8, baudrate=19_200)
    for device in bus.devices:
        for _ in range(150):
            device.record()
    bus.run(20 * S, lambda: all(device.uplink.online for device in bus.devices))
    waits = []
    for number in range(30):
        device = bus.rng.choice(bus.devices)
        session = bus.pump.session(device.device)
        deadline_ms = device.clock.uptime_ms() + 2_000
        assert session.send(messages.Update("manifest", 4_000, 0, bytes(512)))
        assert session.send(messages.Command(number + 1, messages.OPEN, deadline_ms, None))
        begun_us, had = bus.now_us, len(device.commands)
        bus.run(begun_us + 2 * S, lambda d=device, n=had: len(d.commands) > n)
        waits.append(bus.now_us - begun_us)
        bus.run(bus.now_us + bus.rng.randrange(S))
    done = sum(len(device.commands) for device in bus.devices)
    print(f"{done} of 30 commands acted, after {sum(waits) / 30 / S:.2f} s in the mean, {max(waits) / S:.2f} s at most")
    assert done == 30
    assert max(waits) < S
    assert bus.poller.dropped == 30  # the chunk that was ahead of each
    bus.run(600 * S, lambda: bus.settled)
    bus.check()


async def test_forged_polls_and_ends_change_nothing_that_counts(made: Made) -> None:
    bus = made(4, 9)
    for _ in range(30):
        for device in bus.devices:
            device.record()
            number = bus.rng.getrandbits(8)
            forged = [bus_blocks.end(device.device, number, 3), bus_blocks.poll(device.device, number, 9_999, 1)]
            for block in forged:
                data = b"\0" + framing.encode(block)
                bus.after(bus.rng.randrange(S), lambda data=data: bus.talk(data, None))
        bus.run(bus.now_us + S)
    bus.run(bus.now_us + 20 * S, lambda: bus.settled)
    print(f"240 forged blocks: {bus.check()} events once each; {bus.errors}")


async def test_chunks_of_an_update_find_their_way_on_a_full_bus(made: Made) -> None:
    bus = made(32, 10, baudrate=19_200)
    for device in bus.devices:
        for _ in range(900):
            device.record()
    bus.run(20 * S, lambda: all(device.uplink.online for device in bus.devices))
    answered: list[messages.Result] = []
    waits = []
    for number in range(5):
        session = bus.pump.session(bus.rng.choice(bus.devices).device)
        session.on_result = answered.append
        assert session.send(messages.Update("manifest", 4_000, 0, bytes(512)))
        begun_us = bus.now_us
        bus.run(begun_us + 60 * S, lambda n=number: len(answered) > n)
        waits.append(bus.now_us - begun_us)
    assert len(answered) == 5
    assert any(device.journal.pending > 60 for device in bus.devices)
    print(f"5 chunks answered, after {sum(waits) / 5 / S:.1f} s in the mean, {max(waits) / S:.1f} s at most")
    assert max(waits) < 32 * S  # its answers wait in line with all the backlogs
