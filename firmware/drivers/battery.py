# Layer: battery voltage -> percent and level, with hysteresis. One lithium cell behind a divider on an ADC
# pin.

try:
    from typing import Any
except ImportError:
    pass

OK, LOW, CRITICAL = 0, 1, 2

# mV at rest -> percent, one lithium polymer cell, 25 C, light load; between the points in straight lines
CURVE = (
    (3300, 0),
    (3600, 5),
    (3690, 10),
    (3730, 20),
    (3770, 30),
    (3800, 40),
    (3840, 50),
    (3870, 60),
    (3950, 70),
    (4020, 80),
    (4110, 90),
    (4180, 100),
)

LOW_PERCENT = 20
CRITICAL_PERCENT = 5
HYSTERESIS_PERCENT = 5
SAMPLES = 9


# mv: cell voltage -> 0..100
def percent(mv: int) -> int:
    below_mv, below = CURVE[0]
    if mv <= below_mv:
        return below
    for above_mv, above in CURVE:
        if mv < above_mv:
            return below + (above - below) * (mv - below_mv) // (above_mv - below_mv)
        below_mv, below = above_mv, above
    return below


class Battery:
    # adc: read_uv() -> microvolts at the pin; divider: cell voltage / pin voltage
    def __init__(self, adc: "Any", divider: int = 2) -> None:
        self._adc = adc
        self._divider = divider
        self.level = OK

    # Median of a few samples: the radio and the vibration motor pull the voltage down for moments.
    def read_mv(self) -> int:
        samples = sorted(self._adc.read_uv() for _ in range(SAMPLES))
        return int(samples[SAMPLES // 2]) * self._divider // 1000

    # mv: cell voltage -> True when .level has changed. It rises only HYSTERESIS_PERCENT above its threshold.
    def judge(self, mv: int) -> bool:
        charge = percent(mv)
        before = self.level
        self.level = max(_level(charge), min(before, _level(charge - HYSTERESIS_PERCENT)))
        return self.level != before


def _level(charge: int) -> int:
    return CRITICAL if charge < CRITICAL_PERCENT else LOW if charge < LOW_PERCENT else OK
