# Layer: what /config.json may say to a patrol tag: key -> (default, check).
from drivers.config import name, public_keys, uids, watchdog, whole

SCHEMA = {
    "uplink_baud": (115200, whole(1200, 2_000_000)),
    "staff": ([], uids),  # cards that open and end a shift
    "incident": ([], uids),
    "checkpoints": ([], uids),  # empty: every other card is a checkpoint
    "repeat_ms": (20_000, whole(1_000, 600_000)),  # the same card again within this is no new tap
    "sos_hold_ms": (500, whole(50, 5_000)),
    "sos_repeat_ms": (10_000, whole(1_000, 600_000)),
    "battery_check_s": (60, whole(10, 3_600)),
    "look_ms": (300, whole(100, 1_000)),  # on battery: between two looks for a card
    "pocket_min": (15, whole(0, 1_440)),  # without shift, tap and button: deep sleep after this; 0: never
    "watchdog_s": (30, watchdog),  # 0: none, for the workbench
    "heartbeat_s": (60, whole(10, 3_600)),
    "model": ("patrol_tag", name),  # whose updates fit
    "update_keys": ([], public_keys),  # whose updates are believed; none: none
    "update_pause_s": (600, whole(10, 86_400)),  # in a shift: so long without a tap, and it may restart
}
