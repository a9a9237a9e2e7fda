# Layer: pins. Which board this is: one word in /board.txt (no file: the ESP32 DevKit).
# Every board module holds TAG and BARRIER, role name -> GPIO number (or UART number for *_uart), no more.
# What a level means is the same on every board:
#   button_*        contact to ground, pull-up: 0 = pressed
#   limit_*         contact to ground, pull-up: 0 = the boom stands at this limit; a broken wire = "not
#   reached"
#   loop_*          detector's fail-safe contact to ground: 0 = free, 1 = occupied; a broken wire = occupied
#   dock            contact to ground in the charger: 0 = there is power and a line to the edge; without this pin
#                   a tag never sleeps
#   reader_uart or  PN532 in HSU or I2C mode (switches on its board); reader_irq: its P70_IRQ, 0 = has an answer
#   reader_sda
#   wiegand_*_d0/d1 idle 1, a bit is a low pulse
#   everything else is an output: 1 = on; relay drivers need a pull-down, the pins float during reset

BOARD_FILE = "/board.txt"
DEFAULT = "esp32_devkit"


# role: "TAG" | "BARRIER" -> dict of role name -> number. ImportError: /board.txt names a board that is not
# there.
def load(role: str, board_file: str = BOARD_FILE) -> dict[str, int]:
    try:
        with open(board_file) as source:
            name = source.readline().strip()
    except OSError:
        name = ""
    pins: dict[str, int] = getattr(__import__("boards." + (name or DEFAULT), None, None, (role,)), role)
    return pins
