# Layer: puts the processor to sleep as power says, and afterwards tells everybody what their interrupts did not:
# in light sleep edges are lost and only levels wake. Light sleep wakes through the GPIOs, which leaves the pins
# what they are; deep sleep through ext0 (SOS) and ext1 (reader), or the GPIOs on chips without them.
import asyncio
import time

import esp32
import machine

from .power import AWAKE, DEEP, LONGEST_MS

try:
    from typing import Any, Callable
except ImportError:
    pass

# In deep sleep nobody sees the charger: look for it so often. Boots, but not into the application.
LOOK_MS = 600_000


# docked: in the charger. True: this was only a look for the charger, the deep sleep is not over.
def still_pocketed(docked: bool) -> bool:
    woken = machine.reset_cause() == machine.DEEPSLEEP_RESET
    return woken and machine.wake_reason() == machine.TIMER_WAKE and not docked


# button, field: pins that wake it with 0, SOS and the reader that felt a field. Does not return.
def deep(button: "Any", field: "Any") -> None:
    low = esp32.WAKEUP_ALL_LOW
    if hasattr(esp32, "wake_on_ext0"):
        esp32.wake_on_ext0(button, low)
        esp32.wake_on_ext1((field,), low)
    else:
        esp32.wake_on_gpio((button, field), low)
    machine.deepsleep(LOOK_MS)


# asyncio keeps its tasks in the order of their time. Asked by a task that runs: of all others.
def _due_ms() -> int:
    scheduler: "Any" = asyncio
    task = scheduler.core._task_queue.peek()
    return max(0, time.ticks_diff(task.ph_key, time.ticks_ms())) if task else LONGEST_MS


# A task for ever. power: a Power; uart: the uplink's; dock, button, line, field: input pins, 0 = in the charger,
# pressed, answer of the reader, reader woken by a field; touch(): makes the contacts look again; repeat: an answer
# that wakes it is damaged (UART); look_ms: between two looks for a card on battery; needed: () -> True while it
# must not sleep deeply
async def doze(
    node: "Any",
    power: "Any",
    uart: "Any",
    tag: "Any",
    reader: "Any",
    dock: "Any",
    button: "Any",
    line: "Any",
    field: "Any",
    touch: "Callable[[], None]",
    repeat: bool,
    look_ms: int,
    needed: "Callable[[], bool]",
) -> None:
    esp32.wake_on_gpio((button, line), esp32.WAKEUP_ALL_LOW)
    clock = node.clock
    uplink = node.uplink
    docked = False
    wait_ms = 0
    while True:
        await asyncio.sleep_ms(wait_ms)
        now_ms = clock.uptime_ms()
        was = docked
        docked = not dock.value()
        if docked and not (was and uplink.online):
            # a line to the edge: says at once who is there, and each second until somebody listens
            uplink._hurry = True
            uplink._status_due_ms = now_ms
            node._wake.set()
        # the edge has everything, and has answered the latest status with its time: take it
        synced = uplink.online and not uplink._status_tries and not node.journal.pending
        tag.rest(docked and synced)
        pressed = not button.value()
        reader.economy(0 if docked else look_ms)
        if pressed:
            power.active(now_ms)
        busy = pressed or tag.showing or uplink.online or not reader.quiet or not uart.txdone()
        depth, wait_ms = power.judge(now_ms, docked, busy, needed(), _due_ms())
        if depth == DEEP:
            reader.pocket()
            for _ in range(40):
                if reader.chip.off or not reader.chip.ready:
                    break
                await asyncio.sleep_ms(50)
            node.hibernate()
            deep(button, field)
        elif depth != AWAKE:
            machine.lightsleep(wait_ms)
            wait_ms = 0
            clock.slept(clock.uptime_ms() - now_ms)
            # waking by a level left it in place of the edges
            button.irq().trigger(3)
            touch()
            woken = machine.wake_reason() != machine.TIMER_WAKE
            reader.woken(repeat and woken and button.value() == 1)
