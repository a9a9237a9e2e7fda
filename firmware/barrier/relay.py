# Layer: the two motor relays. Never both; off after reset; down only while nothing blocks it.
from .barrier import DOWN, OFF, UP

try:
    from typing import Any, Callable
except ImportError:
    pass


class Relays:
    # up, down: output pins, 1 = on; blocked: () -> True while something stands under the boom, read from the
    # pin
    def __init__(self, up: "Any", down: "Any", blocked: "Callable[[], bool]") -> None:
        self._up = up
        self._down = down
        self._blocked = blocked
        self.drive(OFF)

    # direction: OFF, UP or DOWN. False: DOWN was refused, both are off.
    def drive(self, direction: int) -> bool:
        if direction != UP:
            self._up.value(0)
        if direction != DOWN:
            self._down.value(0)
        if direction == UP:
            self._up.value(1)
        if direction == DOWN:
            if self._blocked():
                self._down.value(0)
                return False
            self._down.value(1)
            # the loop's interrupt may have come between look and switch
            if self._blocked():
                self._down.value(0)
                return False
        return True

    # From the loop's interrupt: no waiting for anything.
    def cut_down(self) -> None:
        self._down.value(0)
