"""Everything that ends in a wire: UART, pins, relays, the card reader."""

import ast
from pathlib import Path

import pytest

from hw_tests.suite import wiring
from hw_tests.suite.target import SerialTarget

pytestmark = [pytest.mark.vm]

PROGRAMS = Path(__file__).parent / "programs"


@pytest.mark.needs("chip", "uart_jumper")
@pytest.mark.parametrize("baud", [9600, 115200])
def test_uart_hears_itself(target: SerialTarget, baud: int) -> None:
    pins = wiring.pins(target.board, target.role)
    code = (
        "import machine, time\n"
        f"u = machine.UART({pins['uplink_uart']}, baudrate={baud}, tx={pins['uplink_tx']}, rx={pins['uplink_rx']},"
        " rxbuf=1024, txbuf=1024)\n"
        "time.sleep_ms(50)\n"
        "u.read()\n"
        "sent = bytes(range(256)) * 2\n"
        "u.write(sent)\n"
        "got = b''\n"
        "begun = time.ticks_ms()\n"
        "while len(got) < len(sent) and time.ticks_diff(time.ticks_ms(), begun) < 5000:\n"
        " got += u.read() or b''\n"
        " time.sleep_ms(5)\n"
        "u.deinit()\n"
        "print(len(got), got == sent)"
    )
    with target.uart_jumper():
        assert target.run(code).strip() == "512 True"


@pytest.mark.role("barrier")
@pytest.mark.needs("chip", "pin_jumpers")
def test_pins_by_jumper(target: SerialTarget) -> None:
    for name, out, into in wiring.pin_jumpers(target.board, target.role):
        levels = target.run(
            "from machine import Pin\n"
            f"o = Pin({out}, Pin.OUT, value=0)\ni = Pin({into}, Pin.IN)\n"
            "got = []\n"
            "for level in (0, 1, 0, 1, 0):\n"
            " o.value(level)\n"
            " got.append(i.value())\n"
            "print(got)"
        )
        assert ast.literal_eval(levels) == [0, 1, 0, 1, 0], name


@pytest.mark.role("barrier")
@pytest.mark.needs("chip", "pin_jumpers")
def test_an_edge_at_a_pin_interrupts(target: SerialTarget) -> None:
    name, out, into = wiring.pin_jumpers(target.board, target.role)[0]
    counted = target.run(
        "from machine import Pin\nimport time\n"
        f"o = Pin({out}, Pin.OUT, value=0)\ni = Pin({into}, Pin.IN)\n"
        "seen = []\n"
        "i.irq(handler=lambda p: seen.append(p.value()), trigger=Pin.IRQ_RISING)\n"
        "for level in (1, 0, 1, 0, 1, 0):\n"
        " o.value(level)\n"
        " time.sleep_ms(5)\n"
        "i.irq(handler=None)\n"
        "print(len(seen))"
    )
    assert int(counted) == 3, name


@pytest.mark.role("barrier")
@pytest.mark.needs("chip", "console", "pin_jumpers")
def test_relays_fall_off_at_a_reset(target: SerialTarget) -> None:
    """By machine.reset() and by the watchdog; the pull-down is that of the input, as a relay driver has one."""
    relays = [jumper for jumper in wiring.pin_jumpers(target.board, target.role) if "relay" in jumper[0]]
    assert len(relays) == 2
    reading = "".join(f"print(Pin({into}, Pin.IN, Pin.PULL_DOWN).value())\n" for _, _, into in relays)
    # One at a time: nobody drives both. The sleep is a program that hangs, until its watchdog bites.
    for (_, out, _), dies in zip(
        relays,
        ("machine.reset()", "w = machine.WDT(timeout=1000)\nimport time\ntime.sleep(60)"),  # the hang
        strict=True,
    ):
        on = target.run(f"import machine\nfrom machine import Pin\nr = Pin({out}, Pin.OUT, value=1)\n" + reading)
        assert sorted(on.split()) == ["0", "1"]
        target.console.restart_to_prompt("import machine\n" + dies)
        assert target.run("from machine import Pin\n" + reading).split() == ["0", "0"]


@pytest.mark.role("tag")
@pytest.mark.needs("chip", "reader")
def test_card_reader_answers(device: SerialTarget) -> None:
    device.run((PROGRAMS / "reader.py").read_text(encoding="utf-8"))
    assert device.run("look(5000, 0)").split()[:1] == ["READY"]


@pytest.mark.role("tag")
@pytest.mark.needs("chip", "reader", "hands")
def test_card_is_read(device: SerialTarget) -> None:
    device.run((PROGRAMS / "reader.py").read_text(encoding="utf-8"))
    held = device.hold_card()
    *_, uid = device.run("uid = look(5000, 20000)\nprint(uid and ''.join(['%02x' % b for b in uid]))").split()
    assert uid != "None"
    assert len(uid) in (8, 14, 20)
    assert held in ("", uid)
    print(f"\n{device.name}: card {uid}")
