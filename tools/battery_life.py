"""Layer: how long a patrol tag lasts on its battery: table of currents and the arithmetic. Pure; figures in, text out.

`python -m tools.battery_life` prints the tables that stand in firmware/README.md; a test holds the two together.
Nothing of this has been measured on a tag yet: currents are data sheets', times are assumptions, both are named.
"""

from __future__ import annotations

from dataclasses import dataclass

HOUR_S = 3600
# Of the capacity on the label, what is left after ageing, cold and the cut-off voltage.
USABLE = 0.8
CAPACITY_MAH = 1000


@dataclass(frozen=True)
class Current:
    """One consumer in one state: what it draws at 3.3 V in mA, and who says so."""

    name: str
    milliamperes: float
    source: str


ESP32_AWAKE = Current(
    "ESP32 awake, radio off, 240 MHz",
    50.0,
    "ESP32-WROOM-32D data sheet, 3.4, table 4: 30 to 50 mA; the upper end",
)
ESP32_LIGHT = Current("ESP32 light sleep", 0.8, "the same table")
ESP32_DEEP = Current("ESP32 deep sleep, RTC timer and memory", 0.01, "the same table")
PN532_ON = Current(
    "PN532 with its field on", 60.0, "a user's measurement, NXP community 1027779: 35 to 60 mA; the upper end"
)
PN532_DOWN = Current(
    "PN532 soft power-down",
    0.045,
    "as a user quotes it, Seeed forum 251091; the data sheet itself was not at hand",
)
DS3231_IDLE = Current(
    "DS3231 on 3.3 V",
    0.11,
    "DS3231 data sheet 19-5170, I_CCS maximum; not at hand either, check it",
)
BOARD = Current(
    "regulator and battery divider", 0.01, "assumed: LDO of 4 µA such as MCP1700, divider of 2 x 470 kΩ"
)
FEEDBACK = Current(
    "LED, sounder and motor together", 90.0, "assumed: 5 + 15 + 70 mA; a board of your own decides"
)
CURRENTS = (
    ESP32_AWAKE, ESP32_LIGHT, ESP32_DEEP, PN532_ON, PN532_DOWN, DS3231_IDLE, BOARD, FEEDBACK,
)  # fmt: skip

# Times, assumed until somebody has an oscilloscope on a tag; look_ms and LOOK_MS are the firmware's defaults.
LOOK_PAUSE_S = 0.300
FIELD_S = 0.040  # wake-up of the chip, its one look, the order to power down
AWAKE_PER_LOOK_S = 0.015
TAP_AWAKE_S = 1.0
TAP_FEEDBACK_S = 0.12
CHARGER_LOOK_S = 600.0
BOOT_S = 0.5


def patrol_ma(taps_per_hour: float, look_pause_s: float = LOOK_PAUSE_S) -> float:
    """Mean current of a tag in hand: light sleep between looks for a card, so many taps an hour. mA."""
    period_s = look_pause_s + FIELD_S
    awake = AWAKE_PER_LOOK_S / period_s + taps_per_hour * TAP_AWAKE_S / HOUR_S
    field = FIELD_S / period_s
    return (
        awake * ESP32_AWAKE.milliamperes
        + (1 - awake) * ESP32_LIGHT.milliamperes
        + field * PN532_ON.milliamperes
        + (1 - field) * PN532_DOWN.milliamperes
        + taps_per_hour * TAP_FEEDBACK_S / HOUR_S * FEEDBACK.milliamperes
        + DS3231_IDLE.milliamperes
        + BOARD.milliamperes
    )


def pocket_ma() -> float:
    """Mean current of a tag in deep sleep, with its looks for the charger. mA."""
    boot = BOOT_S / CHARGER_LOOK_S
    return (
        boot * ESP32_AWAKE.milliamperes
        + (1 - boot) * ESP32_DEEP.milliamperes
        + PN532_DOWN.milliamperes
        + DS3231_IDLE.milliamperes
        + BOARD.milliamperes
    )


def awake_ma() -> float:
    """What it would draw without any sleep: processor awake, reader searching all the time. mA."""
    return sum(part.milliamperes for part in (ESP32_AWAKE, PN532_ON, DS3231_IDLE, BOARD))


def day_mah(hours_on_patrol: float, taps_per_hour: float) -> float:
    """Charge of one day, the rest of it in the pocket. mAh."""
    return hours_on_patrol * patrol_ma(taps_per_hour) + (24 - hours_on_patrol) * pocket_ma()


def days(hours_on_patrol: float, taps_per_hour: float, capacity_mah: float = CAPACITY_MAH) -> float:
    """Days from one charge to the next."""
    return capacity_mah * USABLE / day_mah(hours_on_patrol, taps_per_hour)


def table() -> str:
    """The two tables of firmware/README.md, in Markdown."""
    lines = ["| draws | mA | source |", "|---|---|---|"]
    lines += [f"| {part.name} | {part.milliamperes:g} | {part.source} |" for part in CURRENTS]
    lines += [
        "",
        f"| a round of 12 taps an hour, {CAPACITY_MAH:,} mAh of which {USABLE:.0%} count | mA | mAh a day | lasts |",
    ]
    lines += ["|---|---|---|---|"]
    for name, milliamperes, charge in (
        ("8 h on patrol, 16 h in the pocket", patrol_ma(12), day_mah(8, 12)),
        ("24 h on patrol", patrol_ma(12), day_mah(24, 12)),
        ("in the pocket only", pocket_ma(), day_mah(0, 0)),
        ("for comparison: without any sleep", awake_ma(), 24 * awake_ma()),
    ):
        left = CAPACITY_MAH * USABLE / charge
        lasts = f"{left:.1f} days" if left >= 1 else f"{left * 24:.1f} h"
        lines.append(f"| {name} | {milliamperes:.2f} | {charge:.0f} | {lasts} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
