# Layer: what /config.json may say to a barrier: key -> (default, check). The defaults are the cautious ones.
from drivers.config import as_list, name, public_keys, watchdog, whole, yes_no

SCHEMA = {
    "uplink_baud": (115200, whole(1200, 2_000_000)),
    "bus": (False, yes_no),  # RS-485 with other devices: speaks only when it is polled
    "access": ([], as_list),  # entries as access_list.record() takes them
    "wiegand_backwards": (False, yes_no),  # the readers send a card's last byte first
    "travel_ms": (8_000, whole(1_000, 60_000)),  # longest movement of the boom, then it is a fault
    "auto_close_ms": (15_000, whole(0, 600_000)),  # 0: never by itself
    "pass_close_ms": (2_000, whole(500, 60_000)),  # after the safety loop became free
    "pause_ms": (400, whole(100, 5_000)),  # motor at rest between two directions
    "forced_ms": (800, whole(100, 10_000)),  # the closed limit is lost for so long: forced
    "stuck_ms": (600_000, whole(10_000, 3_600_000)),  # a loop occupied for so long is reported
    "watchdog_s": (30, watchdog),  # 0: none, for the workbench
    "heartbeat_s": (60, whole(10, 3_600)),
    "model": ("barrier", name),  # whose updates fit
    "update_keys": ([], public_keys),  # whose updates are believed; none: none
}
