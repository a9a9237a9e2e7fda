# Layer: vehicle loops as inputs. An occupied safety loop cuts the lowering relay inside its interrupt, and is
# remembered until the state machine has seen it, however short it was.

try:
    from typing import Any, Callable
except ImportError:
    pass

OCCUPIED = 1  # the detector's contact is open: occupied, or its wire is broken
FREE_MS = 300  # a trailer's drawbar is no gap between two vehicles


# Stands in for its pin (value, irq): what Contacts reads is the loop including what was remembered.
class SafetyLoop:
    # pin: input; cut: () -> None stops lowering at once
    def __init__(self, pin: "Any", cut: "Callable[[], None]") -> None:
        self._pin = pin
        self._cut = cut
        self._tripped = False
        self._handler: "Any" = None
        self.IRQ_RISING = pin.IRQ_RISING
        self.IRQ_FALLING = pin.IRQ_FALLING

    # The pin itself, for the relay's last look; what it sees is remembered as well.
    def blocked(self) -> bool:
        if self._pin.value() == OCCUPIED and not self._tripped:
            self._tripped = True
            if self._handler:
                self._handler(self._pin)
        return self._tripped

    def value(self) -> int:
        tripped, self._tripped = self._tripped, False
        return OCCUPIED if tripped else self._pin.value()

    def irq(self, handler: "Any", trigger: int) -> None:
        self._handler = handler
        self._pin.irq(self._edge, trigger)

    def _edge(self, pin: "Any") -> None:
        if pin.value() == OCCUPIED:
            self._cut()
            self._tripped = True
        self._handler(pin)
