# ESP32-S3-DevKitC-1 (WROOM-1, quad or octal PSRAM).
# Left alone: 0 3 45 46 (strapping), 19 20 (USB), 26-37 (flash, octal PSRAM), 43 44 (UART0: REPL),
# 38 48 (RGB LED).

TAG = {
    "uplink_uart": 1,
    "uplink_tx": 17,
    "uplink_rx": 18,
    "reader_uart": 2,
    "reader_tx": 15,
    "reader_rx": 16,  # RTC GPIO: the chip's answer wakes
    "reader_irq": 13,  # RTC GPIO: a field at the reader wakes from deep sleep
    "reader_reset": 14,
    "button_sos": 4,  # RTC GPIO: wakes from deep sleep
    "battery_adc": 5,  # ADC1; behind a 2:1 divider
    "led_green": 6,
    "led_red": 7,
    "buzzer": 8,
    "vibration": 9,
    "rtc_sda": 10,
    "rtc_scl": 11,
    "dock": 12,
}

BARRIER = {
    "uplink_uart": 1,
    "uplink_tx": 17,
    "uplink_rx": 18,
    "uplink_de": 21,
    "wiegand_in_d0": 4,
    "wiegand_in_d1": 5,
    "wiegand_out_d0": 6,
    "wiegand_out_d1": 7,
    "relay_up": 15,
    "relay_down": 16,
    "loop_safety": 8,
    "loop_approach": 9,
    "limit_open": 10,
    "limit_closed": 11,
    "button_open": 12,
    "button_close": 13,
    "button_stop": 14,
    "lamp": 2,
    "buzzer": 1,
    "rtc_sda": 41,
    "rtc_scl": 42,
}
