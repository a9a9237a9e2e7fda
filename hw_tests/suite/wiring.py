"""Layer: what is plugged onto a bench board, by role name: the numbers are in firmware/boards and nowhere else.

`python -m hw_tests.suite.wiring BOARD ROLE` prints it as a list to wire by.
"""

import sys

from hw_tests.virtual_board import wiring
from tools.device.install import boards

ROLES = {"tag": "patrol_tag", "barrier": "barrier"}
# UART 1 hears itself. Not together with a host on the uplink.
UART_JUMPER = ("uplink_tx", "uplink_rx")
# Outputs to inputs. No relay board and no detector is connected then, and no program may run that acts on them.
PIN_JUMPERS: dict[str, list[tuple[str, str]]] = {
    "tag": [],
    "barrier": [("relay_up", "loop_approach"), ("relay_down", "loop_safety"), ("lamp", "button_open")],
}


def pins(board: str, role: str) -> dict[str, int]:
    """{role name: GPIO} of a board."""
    return wiring.load(ROLES[role], board)


def roles(board: str) -> list[str]:
    """What a board has pins for."""
    found = []
    for role in ROLES:
        try:
            pins(board, role)
        except KeyError:
            continue
        found.append(role)
    return found


def pin_jumpers(board: str, role: str) -> list[tuple[str, int, int]]:
    """(what it joins, GPIO of the output, GPIO of the input)."""
    table = pins(board, role)
    return [(f"{out} - {into}", table[out], table[into]) for out, into in PIN_JUMPERS[role]]


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[1] not in boards() or sys.argv[2] not in roles(sys.argv[1]):
        raise SystemExit(f"python -m hw_tests.suite.wiring BOARD tag|barrier; boards: {', '.join(boards())}")
    _, board, role = sys.argv
    table = pins(board, role)
    print(f"{board} as {role}, GPIO numbers:")
    out, into = UART_JUMPER
    print(f"  --with uart_jumper  {out} - {into}: {table[out]} - {table[into]}")
    for name, source, target in pin_jumpers(board, role):
        print(f"  --with pin_jumpers  {name}: {source} - {target}")
    mode = "HSU" if "reader_uart" in table else "I2C"
    for name in ("reader_tx", "reader_rx", "reader_sda", "reader_scl", "reader_irq", "reader_reset"):
        if name in table:
            print(f"  --with reader       {name}: {table[name]} (PN532 in {mode} mode)")
    print(f"  --uplink PORT       {out}: {table[out]}, {into}: {table[into]} (3.3 V adapter; no UART jumper then)")


if __name__ == "__main__":
    main()
