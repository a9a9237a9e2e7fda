# The barrier's composition root: relays first, then contacts, readers and keys become one Gate. Nothing else
# here.
import asyncio
import time

import machine
from drivers import config, hardware
from drivers.buttons import Contacts
from drivers.ds3231 import Ds3231
from drivers.history import newest_first
from drivers.indicator import Indicator
from drivers.wiegand import Wiegand
from esp32 import NVS

import boards
from barrier import access_list, credential, loops
from barrier.barrier import Barrier
from barrier.gate import Gate
from barrier.relay import Relays
from barrier.settings import SCHEMA
from barrier.unprovisioned import Unprovisioned
from gatelink import events
from node.errors import FlashError, NotProvisioned
from node.flash import find
from node.node import Node
from node.updating import Updating

try:
    from typing import Any
except ImportError:
    pass

FIRMWARE = "barrier-0.1.0"
ROLE = 2
_LOOK_BACK = 512
_BUTTON_MS = 30
_LIMIT_ON_MS = 5  # the motor stops at its limit at once
_LIMIT_OFF_MS = 50
_TRIAL_S = 60


async def main() -> None:
    pins = boards.load("BARRIER")
    # nothing moves until everything below stands
    up = hardware.output(pins["relay_up"])
    down = hardware.output(pins["relay_down"])
    safety = loops.SafetyLoop(hardware.contact(pins["loop_safety"]), lambda: down.value(0))
    relays = Relays(up, down, safety.blocked)
    drive = hardware.output(pins["uplink_de"])
    settings, problems = config.load("/config.json", SCHEMA)
    packed, wrong = access_list.pack(settings.pop("access"))
    indicator = Indicator(asyncio.ThreadSafeFlag(), None, None, hardware.buzzer(pins["buzzer"]), None)

    def on_command(action: int, argument: "Any") -> "tuple[int, str]":
        return gate.on_command(action, argument)

    kind: "Any" = Node
    if settings["bus"]:
        from barrier.bus import BusNode

        BusNode.drive = drive
        kind = BusNode
    ticks_ms: "Any" = time.ticks_ms
    updating = Updating(settings["model"], settings["update_keys"])
    # on trial the boot selector has started one already
    watchdog = hardware.watchdog(settings["watchdog_s"] or (_TRIAL_S if updating.on_trial else 0))
    try:
        node: "Any" = kind(
            hardware.uplink(pins, settings["uplink_baud"]),
            find(),
            NVS("gatepost"),
            ROLE,
            updating.version(FIRMWARE),
            ticks_ms,
            machine.reset,
            machine.reset_cause(),
            on_command,
            watchdog=watchdog,
            heartbeat_ms=settings["heartbeat_s"] * 1000,
            chip=lambda uptime_ms: Ds3231(hardware.i2c(pins["rtc_sda"], pins["rtc_scl"]), uptime_ms),
        )
    except (NotProvisioned, FlashError) as problem:
        if updating.on_trial:
            raise  # the version before found its keys and its journal
        print("not in service, buttons only:", problem)
        node = Unprovisioned(ticks_ms, watchdog)
        packed = b""
    clock = node.clock.uptime_ms

    def on_contact(name: str, active: bool, now_ms: int) -> None:
        gate.on_contact(name, active, now_ms)

    contacts = Contacts(asyncio.ThreadSafeFlag(), clock, on_contact)
    occupied = contacts.add("loop_safety", safety, loops.OCCUPIED, 0, loops.FREE_MS)
    approached = contacts.add(
        "loop_approach", hardware.contact(pins["loop_approach"]), loops.OCCUPIED, 0, loops.FREE_MS
    )
    limits = [
        contacts.add(name, hardware.contact(pins[name]), 0, _LIMIT_ON_MS, _LIMIT_OFF_MS)
        for name in ("limit_open", "limit_closed")
    ]
    for name in ("button_open", "button_close", "button_stop"):
        contacts.add(name, hardware.contact(pins[name]), 0, _BUTTON_MS, _BUTTON_MS)
    barrier = Barrier(settings, clock(), limits[0], limits[1], occupied, cycles_before(node.journal))
    if approached:
        barrier.loop(occupied=True, now_ms=clock(), which=1)
    gate = Gate(
        node,
        clock,
        asyncio.ThreadSafeFlag(),
        barrier,
        relays,
        hardware.output(pins["lamp"]),
        indicator,
        lambda: credential.interval(node.clock.anchor, clock()),
    )
    gate.on_start(problems + wrong)
    access = access_list.AccessList(packed)
    for name, direction in (("in", events.IN), ("out", events.OUT)):
        reader = Wiegand(asyncio.ThreadSafeFlag(), settings["wiegand_backwards"])
        hardware.wiegand(reader, pins["wiegand_%s_d0" % name], pins["wiegand_%s_d1" % name])
        lane = credential.Lane(direction, access)
        node.supervise(watch(gate, lane, reader))
    if node.journal:
        # its contacts were read before it came here
        updating.attach(node, watchdog, machine.reset, gate.busy, gate.quiet, lambda: True)
    for task in (indicator.run, contacts.run, gate.run):
        node.supervise(task)
    await node.run()


# -> a task factory: what reader reads is judged in lane
def watch(gate: Gate, lane: credential.Lane, reader: Wiegand) -> "Any":
    def on_credential(octets: bytes) -> None:
        gate.on_credential(lane, octets)

    return lambda: reader.run(on_credential)


# The count goes on where the journal's newest BARRIER event left it.
def cycles_before(journal: "Any") -> int:
    if journal:
        for event in newest_first(journal, _LOOK_BACK):
            if event[0] == events.BARRIER:
                return int(event[3])
    return 0


try:
    asyncio.run(main())
finally:
    # whatever ended it, Ctrl-C included: the motor stops now, not when the watchdog bites
    for relay in ("relay_up", "relay_down"):
        hardware.output(boards.load("BARRIER")[relay])
