# Layer: what the person hears, sees and feels. A pattern is (steps): each step (ms, tone in Hz or 0, lights,
# shake). show() switches the first step on before it returns; the rest plays by itself; a new pattern
# replaces the old one.
import asyncio

try:
    from typing import Any
except ImportError:
    pass

GREEN, RED = 1, 2
TONE_HZ = 2700  # where small piezo sounders are loudest

_SHORT = (80, TONE_HZ, GREEN, 1)
_PAUSE = (80, 0, GREEN, 0)
_LONG = (300, TONE_HZ, RED, 1)
_OFF = (100, 0, 0, 0)
_LOW = (400, 400, RED, 1)

PATTERNS = {
    "taken": ((120, TONE_HZ, GREEN, 1), (400, 0, GREEN, 0)),
    "again": (_SHORT, _PAUSE, _SHORT),  # this card was taken a moment ago
    # taken, but nobody is on shift
    "no_shift": (_SHORT, _PAUSE, _SHORT, (80, 0, RED, 0), (200, TONE_HZ, RED, 1)),
    "shift_start": ((80, 1800, GREEN, 1), (80, 2200, GREEN, 1), (160, TONE_HZ, GREEN, 1)),
    "shift_end": ((80, TONE_HZ, GREEN, 1), (80, 2200, GREEN, 1), (160, 1800, GREEN, 1)),
    "incident": (_SHORT, _PAUSE, _SHORT, _PAUSE, _SHORT, (500, 0, GREEN, 0)),
    "sos": (_LONG, _OFF, _LONG, _OFF, _LONG),
    "unknown": ((200, 400, RED, 1), (100, 0, 0, 0), (200, 400, RED, 1)),
    "refused": (_LOW, (150, 0, RED, 0), _LOW, (150, 0, RED, 0), _LOW),  # NOT stored: journal full or broken
    "ready": ((60, 1800, GREEN, 0), (60, TONE_HZ, GREEN, 0)),
    "fault": ((1000, 400, RED, 0),),
    "battery": ((100, 1200, RED, 0), (100, 0, 0, 0), (100, 800, RED, 0)),
    "call": ((200, 1800, GREEN, 1), (200, 2200, GREEN, 1)) * 4,  # the office looks for the guard
}


class Indicator:
    # Outputs may be None where a board has none. buzzer: a PWM; flag: an asyncio.ThreadSafeFlag.
    def __init__(self, flag: "Any", green: "Any", red: "Any", buzzer: "Any", shaker: "Any") -> None:
        self._flag = flag
        self._green = green
        self._red = red
        self._buzzer = buzzer
        self._shaker = shaker
        self._steps: "tuple[tuple[int, int, int, int], ...]" = ()
        self._shown = 0
        self._rest = 0
        self._apply(0, 0, 0)

    # green: shines while no pattern plays
    def rest(self, green: bool) -> None:
        self._rest = GREEN if green else 0
        if not self._steps:
            self._apply(0, self._rest, 0)

    # Does a pattern play? Sounder and lights need an awake processor.
    @property
    def playing(self) -> bool:
        return bool(self._steps)

    # name: of a pattern
    def show(self, name: str) -> None:
        self._steps = PATTERNS[name]
        self._shown += 1
        _, tone, lights, shake = self._steps[0]
        self._apply(tone, lights, shake)
        self._flag.set()

    def _apply(self, tone: int, lights: int, shake: int) -> None:
        if self._buzzer:
            if tone:
                self._buzzer.freq(tone)
            self._buzzer.duty_u16(32768 if tone else 0)
        if self._green:
            self._green.value(1 if lights & GREEN else 0)
        if self._red:
            self._red.value(1 if lights & RED else 0)
        if self._shaker:
            self._shaker.value(shake)

    async def run(self) -> None:
        played = 0
        index = 0
        while True:
            if played != self._shown:
                played = self._shown
                index = 0
            if index >= len(self._steps):
                self._apply(0, self._rest, 0)
                self._steps = ()
                while played == self._shown:
                    await self._flag.wait()
                continue
            ms, tone, lights, shake = self._steps[index]
            if index:
                self._apply(tone, lights, shake)
            index += 1
            await asyncio.sleep_ms(ms)
