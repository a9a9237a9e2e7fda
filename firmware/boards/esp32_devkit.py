# ESP32 DevKitC (ESP32-WROOM-32, 38 pins). Not for WROVER modules: they use 16 and 17 for PSRAM.
# Left alone: 0 5 12 15 (strapping), 1 3 (UART0: REPL), 6-11 (flash). 2 is a strapping pin with a pull-down:
# as an output it stays low through reset. 34-39 are inputs without pull resistors: the circuit brings them.
# 36 and 39 can glitch for 80 ns (ESP32 errata 3.11): debounced inputs only.

TAG = {
    "uplink_uart": 1,
    "uplink_tx": 17,
    "uplink_rx": 16,
    "reader_uart": 2,  # PN532, high speed UART
    "reader_tx": 26,
    "reader_rx": 25,  # RTC GPIO: the chip's answer wakes
    "reader_irq": 32,  # RTC GPIO: a field at the reader wakes from deep sleep
    "reader_reset": 27,  # RSTPD_N, 0 = power down
    "button_sos": 33,  # RTC GPIO: wakes from deep sleep
    "battery_adc": 35,  # ADC1; behind a 2:1 divider
    "led_green": 18,
    "led_red": 19,
    "buzzer": 23,
    "vibration": 4,
    "rtc_sda": 21,
    "rtc_scl": 22,
    "dock": 34,
}

BARRIER = {
    "uplink_uart": 1,
    "uplink_tx": 17,
    "uplink_rx": 16,
    "uplink_de": 4,  # RS-485 driver enable
    "wiegand_in_d0": 34,
    "wiegand_in_d1": 35,
    "wiegand_out_d0": 18,
    "wiegand_out_d1": 19,
    "relay_up": 25,
    "relay_down": 26,
    "loop_safety": 32,  # under the boom
    "loop_approach": 33,  # in front of it
    "limit_open": 36,
    "limit_closed": 39,
    "button_open": 13,
    "button_close": 14,
    "button_stop": 27,
    "lamp": 2,  # 1 = green for the driver
    "buzzer": 23,
    "rtc_sda": 21,
    "rtc_scl": 22,
}
