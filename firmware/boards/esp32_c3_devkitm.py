# ESP32-C3-DevKitM-1 (MINI-1). Two UARTs and 10 free pins: a tag with its PN532 on I2C, but not a barrier (20
# pins). No ext0 and ext1: GPIO 0 to 5 wake it from deep sleep.
# Left alone: 2 8 9 (strapping; 8 also drives the board's RGB LED), 11-17 (flash), 20 21 (UART0: REPL). 18 and 19
# are the chip's own USB, which the board does not lead out.
# No pin is left for a red LED and a vibration motor: the sounder tells everything, too.

TAG = {
    "uplink_uart": 1,
    "uplink_tx": 18,
    "uplink_rx": 19,
    "reader_sda": 6,  # PN532 on I2C, address 0x24
    "reader_scl": 7,
    "reader_irq": 3,
    "button_sos": 1,
    "battery_adc": 0,  # ADC1; behind a 2:1 divider
    "led_green": 10,
    "buzzer": 5,
    "rtc_sda": 6,  # the same bus
    "rtc_scl": 7,
    "dock": 4,
}
