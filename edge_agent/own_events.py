"""Layer: the events that the agent itself records, under its own device number, so that nothing is silent.

Payloads have the shape of device events ([kind, fields...]); BOOT is gatelink's, the kinds from 64 up are the edge's.
From 64 on the class is in the number (kind & 3): 0 routine, 1 and 3 normal, 2 alarm.
"""

from __future__ import annotations

from gatelink import cbor, events

STOPPED = 65  # [] clean shutdown
SEQ_RESTARTED = 66  # [device, seq] alarm: a device numbers its events from the start again
PORT = 67  # [name, state 0 lost 1 back]
DEVICE = 69  # [device, state 0 offline 1 online]
HELD_RAW = 70  # [device, first seq] alarm: a message that can't be taken as events is kept as it came
NEVER_SEEN = 74  # [device, first, last] alarm: events that the device no longer holds and this edge never had
QUEUE = 71  # [state 0 full 1 flowing] ports were paused because commits did not keep up
ROTATED = 73  # [device, epoch] the device speaks its new link key, the old one is forgotten
WRONG_TRIES = 90  # [source, tries] alarm: wrong tokens at the status address; the source has to wait
REVOKED = 82  # [device] alarm: the device's link key was dropped
CLOCK_STEP = 75  # [ms, known 0/1] this machine's clock was set by so much; whether the time is known now
DISK = 86  # [state 0 full 1 ok, free MiB] alarm: below the reserve events are left with their devices
STORE = 78  # [failures] alarm: commits failed for a while (disk full or broken), and succeed again

BUS_QUIET = 81  # [port] devices get through again
BUS_JAMMED = 94  # [port] alarm: for 8 s nobody got through on a bus while somebody kept it busy
DOCKED = 79  # [device, dock, events] a tag in a dock has been relieved of everything; so many events were new

FIRMWARE = "edge"


CLEAN, CRASHED, RESTORED = 0, 1, 2  # causes of BOOT: a clean stop or none before, a crash or power cut, a backup


def boot(version: str, cause: int) -> bytes:
    """The agent started; why it was not running before."""
    return events.encode(events.BOOT, cause, f"{FIRMWARE} {version}"[:16])


def own(kind: int, *fields: int | str) -> bytes:
    """Payload of one of the kinds above; texts are cut so that it stays within the limit of an event."""
    shortened = [_short(field) if isinstance(field, str) else field for field in fields]
    return bytes(cbor.dumps([kind, *shortened]))


def class_of(payload: bytes) -> int:
    """0 routine, 1 normal, 2 alarm."""
    return int(events.class_of(events.kind_of(payload)))


def _short(text: str, size: int = 28) -> str:
    return text.encode()[:size].decode(errors="ignore")
