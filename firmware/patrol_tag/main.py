# The patrol tag's composition root: pins, chips and keys become one Tag. Nothing else here.
import asyncio
import time

import machine
from drivers import config, hardware
from drivers.battery import Battery
from drivers.buttons import Contacts
from drivers.ds3231 import Ds3231
from drivers.history import newest_first
from drivers.indicator import Indicator
from esp32 import NVS

import boards
from node.errors import FlashError, NotProvisioned
from node.flash import find
from node.node import Node
from node.updating import Updating
from patrol_tag.port import lines, port
from patrol_tag.power import Power
from patrol_tag.reader import Reader
from patrol_tag.settings import SCHEMA
from patrol_tag.shift import LOOK_BACK, Shift
from patrol_tag.sleeper import deep, doze, still_pocketed
from patrol_tag.sos import Sos
from patrol_tag.tag import Tag

try:
    from typing import Any
except ImportError:
    pass

FIRMWARE = "tag-0.1.0"
ROLE = 1
_TELL_MS = 4_000  # feeds the watchdog, too
_SETTLE_MS = 30
_TRIAL_S = 60


async def main() -> None:
    pins = boards.load("TAG")
    button = hardware.contact(pins["button_sos"])
    dock = hardware.contact(pins["dock"]) if "dock" in pins else None
    line, field = lines(pins)
    if dock and still_pocketed(not dock.value()):
        deep(button, field)
    settings, problems = config.load("/config.json", SCHEMA)
    flag = asyncio.ThreadSafeFlag
    indicator = Indicator(
        flag(),
        hardware.output(pins["led_green"]),
        hardware.output(pins["led_red"]) if "led_red" in pins else None,
        hardware.buzzer(pins["buzzer"]),
        hardware.output(pins["vibration"]) if "vibration" in pins else None,
    )
    battery = Battery(hardware.battery_adc(pins["battery_adc"]))

    def on_command(action: int, argument: "Any") -> "tuple[int, str]":
        return tag.on_command(action, argument)

    ticks_ms: "Any" = time.ticks_ms
    uplink = hardware.uplink(pins, settings["uplink_baud"])
    updating = Updating(settings["model"], settings["update_keys"])
    # on trial the boot selector has started one already
    watchdog = hardware.watchdog(settings["watchdog_s"] or (_TRIAL_S if updating.on_trial else 0))
    try:
        node = Node(
            uplink,
            find(),
            NVS("gatepost"),
            ROLE,
            updating.version(FIRMWARE),
            ticks_ms,
            machine.reset,
            machine.reset_cause(),
            on_command,
            battery.read_mv,
            watchdog=watchdog,
            heartbeat_ms=settings["heartbeat_s"] * 1000,
            memory=machine.RTC(),
            chip=lambda uptime_ms: Ds3231(hardware.i2c(pins["rtc_sda"], pins["rtc_scl"]), uptime_ms),
        )
    except (NotProvisioned, FlashError) as problem:
        if updating.on_trial:
            raise  # the version before found its keys and its journal
        print("not in service:", problem)
        await out_of_service(indicator, watchdog)
        return
    clock = node.clock.uptime_ms
    shift = Shift(settings["staff"], settings["incident"], settings["checkpoints"], settings["repeat_ms"])
    shift.restore(newest_first(node.journal, LOOK_BACK))
    tag = Tag(
        node,
        clock,
        flag(),
        shift,
        Sos(settings["sos_hold_ms"], settings["sos_repeat_ms"]),
        indicator,
        battery,
        settings["battery_check_s"] * 1000,
    )
    tag.on_start(problems)
    touched = flag()
    contacts = Contacts(touched, clock, tag.on_contact)
    if contacts.add("button_sos", button, 0, _SETTLE_MS, _SETTLE_MS):
        # held while the device started: that is a call, too, and it began at the latest when it started
        held_ms = min(int(ticks_ms()), settings["sos_hold_ms"])
        tag.on_contact("button_sos", active=True, now_ms=clock() - held_ms)
    power = Power(settings["pocket_min"] * 60_000, clock())

    def on_card(uid: bytes, now_ms: int) -> None:
        power.active(now_ms)
        tag.on_card(uid, now_ms)

    reader_port, woken, wake = port(pins, line)
    reset = hardware.output(pins["reader_reset"], 1) if "reader_reset" in pins else None
    reader = Reader(reader_port, woken, reset, clock, on_card, tag.on_reader_trouble, wake)
    pause_ms = settings["update_pause_s"] * 1000
    updating.attach(
        node, watchdog, machine.reset, tag.busy, lambda: tag.quiet(pause_ms), lambda: reader.chip.ready
    )
    for task in (indicator.run, contacts.run, reader.run, tag.watch_sos, tag.watch_battery):
        node.supervise(task)
    if dock:
        # a board that can't tell whether it is in the charger never sleeps
        node.supervise(
            lambda: doze(
                node,
                power,
                uplink,
                tag,
                reader,
                dock,
                button,
                line,
                field,
                touched.set,
                bool(wake),
                settings["look_ms"],
                lambda: tag.needed or updating.on_trial,
            )
        )
    await node.run()


# Without keys or journal nothing that is tapped would count: say so until a technician comes.
async def out_of_service(indicator: "Any", watchdog: "Any") -> None:
    playing = asyncio.create_task(indicator.run())
    while not playing.done():
        indicator.show("fault")
        if watchdog:
            watchdog.feed()
        await asyncio.sleep_ms(_TELL_MS)


asyncio.run(main())
