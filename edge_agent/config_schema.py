"""Layer: what may stand in the configuration file; README and validation both follow this table."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

Check = Callable[[object], str | None]


class Key(NamedTuple):
    """One key: `check` returns what would be right, or None if the value is; REQUIRED has no default."""

    name: str
    default: object
    check: Check
    doc: str


REQUIRED: object = object()


def text(low: int = 1, high: int = 200) -> Check:
    """Strings of low..high characters on one line."""

    def check(value: object) -> str | None:
        good = isinstance(value, str) and low <= len(value) <= high and value.isprintable()
        return None if good else f"a text of {low} to {high} characters in quotes"

    return check


def site_id(value: object) -> str | None:
    """Short names that fit into a URL's path."""
    good = isinstance(value, str) and 1 <= len(value) <= 64 and value.isascii()
    good = good and all(c.isalnum() or c in "-_." for c in str(value))
    return None if good else 'letters, digits, "-", "_" and ".", at most 64, for example "riverside-1"'


def whole(low: int, high: int) -> Check:
    """Integers low..high."""

    def check(value: object) -> str | None:
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if good else f"a whole number from {low:,} to {high:,}, without quotes"

    return check


def number(low: float, high: float) -> Check:
    """Numbers low..high."""

    def check(value: object) -> str | None:
        good = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        return None if good else f"a number from {low:g} to {high:g}, without quotes"

    return check


def one_of(*choices: str) -> Check:
    """One of the given words."""

    def check(value: object) -> str | None:
        return None if value in choices else "one of " + ", ".join(f'"{c}"' for c in choices)

    return check


def url(value: object) -> str | None:
    """http:// or https:// with a host and no query."""
    hint = 'an address such as "https://office.example.org" (http or https, no "?" or "#")'
    if not isinstance(value, str):
        return hint
    parts = urlsplit(value)
    good = (
        parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    )
    return None if good else hint


def listen(value: object) -> str | None:
    """host:port, the host possibly in brackets; port 0 asks the system for a free one."""
    hint = 'an address and port such as "127.0.0.1:8787"'
    if not isinstance(value, str):
        return hint
    host, _, port = value.rpartition(":")
    return None if host and port.isdigit() and int(port) <= 65535 else hint


BAUD = (9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)


def baud(value: object) -> str | None:
    """The rates that ESP32 boards and USB adapters both know."""
    good = isinstance(value, int) and not isinstance(value, bool) and value in BAUD
    return None if good else "one of " + ", ".join(map(str, BAUD))


def bus_devices(value: object) -> str | None:
    """1..32 different device numbers."""
    good = isinstance(value, list) and 1 <= len(value) <= 32 and len(set(map(repr, value))) == len(value)
    good = good and isinstance(value, list) and all(whole(2, 0xFFFFFFFF)(each) is None for each in value)
    return None if good else "1 to 32 different device numbers, for example [7, 8]"


def patterns(value: object) -> str | None:
    """1..8 absolute paths with wildcards."""
    good = isinstance(value, list) and 1 <= len(value) <= 8 and all(PATH(each) is None for each in value)
    good = good and isinstance(value, list) and all(str(each).startswith("/") for each in value)
    return None if good else 'a list of absolute paths with wildcards, for example ["/dev/ttyACM*"]'


def flag(value: object) -> str | None:
    """true or false."""
    return None if isinstance(value, bool) else "true or false, without quotes"


def hex_key(value: object) -> str | None:
    """32 bytes as 64 hexadecimal digits."""
    good = isinstance(value, str) and len(value) == 64 and all(c in "0123456789abcdefABCDEF" for c in value)
    return None if good else "64 hexadecimal digits in quotes (32 bytes)"


PATH = text(1, 1000)
MISSING = ""

TABLES: dict[str, tuple[Key, ...]] = {
    "edge": (
        Key("site", REQUIRED, site_id, "the site's id, as the office knows it"),
        Key("id", REQUIRED, site_id, "this machine's id, for the office's page and the logs"),
        Key("data_dir", REQUIRED, PATH, "folder of the store; relative to this file"),
        Key(
            "device_id", 1, whole(1, 0xFFFFFFFF), "device number under which the edge records its own events"
        ),
    ),
    "office": (
        Key("url", MISSING, url, "where batches go, with a token; an enrolled edge needs neither"),
        Key("token", MISSING, text(8, 500), "bearer token of a site without enrolment; prefer token_file"),
        Key("token_file", MISSING, PATH, "file with the bearer token in its first line, mode 0600"),
        Key("ca_file", MISSING, PATH, "PEM certificates to trust for https, instead of the system's"),
        Key(
            "timeout_s",
            30.0,
            number(0.1, 600),
            "silence after which an upload counts as failed, real seconds",
        ),
        Key("connect_timeout_s", 10.0, number(0.1, 600), "time to connect, real seconds"),
        Key("backoff_min_ms", 500, whole(1, 600_000), "first pause after a failure, real time"),
        Key("backoff_max_ms", 60_000, whole(1, 3_600_000), "longest pause after failures, real time"),
        Key("probe_s", 2.0, number(0.1, 600), "pause between looks whether the link is back, real seconds"),
        Key("batch_rows", 4_000, whole(1, 10_000), "rows in one upload at most"),
        Key(
            "batch_bytes", 262_144, whole(1024, 2_097_152), "bytes of one upload before compression, at most"
        ),
        Key("in_flight", 16, whole(1, 32), "uploads of one lane under way at once, at most"),
        Key("head_pause_s", 60.0, number(0, 86_400), "a signed head of the log in so long at most, real time"),
    ),
    "port": (
        Key("kind", REQUIRED, one_of("serial", "rs485", "dock", "udp"), "serial, rs485 (a polled bus), dock or udp"),
        Key(
            "name", MISSING, text(1, 40), "how status and logs call the port; its path, its address or dock if left out"
        ),
        Key("path", MISSING, PATH, "serial, rs485: the port's device file, better a /dev/serial/by-id link"),
        Key("baudrate", 115200, baud, "serial, rs485, dock: bits per second"),
        Key(
            "match",
            ["/dev/serial/by-id/*", "/dev/ttyACM*"],
            patterns,
            "dock: device files that are opened when they turn up; those of other ports are left alone",
        ),
        Key("devices", MISSING, bus_devices, "rs485: numbers of the devices on the bus, which are polled"),
        Key(
            "direction",
            "adapter",
            one_of("adapter", "kernel"),
            "rs485: who switches the line: the adapter by itself, or the kernel's driver by RTS",
        ),
        Key("listen", MISSING, listen, "udp: address and port to listen on"),
        Key("reconnect_max_ms", 5_000, whole(10, 600_000), "all but udp: longest pause between tries, real time"),
    ),
    "devices": (
        Key("file", REQUIRED, PATH, "the devices with their keys (TOML, mode 0600); relative to this file"),
    ),
    "link": (
        Key("window", 64, whole(1, 64), "event frames that a device may have under way; it takes fewer if it likes"),
        Key(
            "offline_after_s",
            300,
            whole(1, 86_400),
            "silence, in event time, after which a device counts as offline",
        ),
        Key("command_retry_ms", 300, whole(20, 2_000), "pause before a command is sent again, event time"),
        Key("update_gap_ms", 150, whole(20, 10_000), "pause between two chunks of an update, event time"),
    ),
    "time": (
        Key("error_ms", 50, whole(0, 3_600_000), "how far this machine's clock may be off (NTP: 10 to 50)"),
        Key(
            "source",
            "system",
            one_of("system", "kernel"),
            "who says that this machine's time is right: you, or the kernel (known only while NTP has it synchronised)",
        ),
        Key("drift_ppm", 10, whole(0, 100_000), "how far a device's crystal may drift, parts per million"),
    ),
    "commit": (
        Key("max_wait_ms", 0, whole(0, 1_000), "how long a group waits for company before it is committed"),
        Key("max_events", 8_192, whole(1, 100_000), "events in one commit at most"),
        Key(
            "queue_frames",
            4_096,
            whole(16, 1_000_000),
            "received frames that may wait for a commit; then ports pause",
        ),
    ),
    "retention": (
        Key("keep_days", 30, whole(0, 3_650), "days that events stay here after the office's receipt"),
    ),
    "disk": (
        Key("reserve_mb", 64, whole(0, 1_000_000), "MiB that stay free: below, events are left with their devices"),
        Key("ballast_mb", 16, whole(0, 10_000), "MiB kept as a file that is let go when the disk is full"),
    ),
    "status": (
        Key("listen", "127.0.0.1:8787", listen, "address of the status page; beyond this machine only with a token"),
        Key("viewer_token_file", MISSING, PATH, "file with the token that whoever looks must have; none: this machine"),
        Key("tls_cert", MISSING, PATH, "certificate (PEM) for https; with tls_key"),
        Key("tls_key", MISSING, PATH, "its private key (PEM), mode 0600"),
        Key(
            "control_token_file", MISSING, PATH, "file with the token that allows commands; none: no commands"
        ),
    ),
    "log": (
        Key("level", "info", one_of("debug", "info", "warning", "error"), "least level that is written"),
    ),
    "rehearsal": (
        Key("epoch_ms", REQUIRED, whole(0, 1 << 47), "drills only: event time at started_ms, ms since 1970"),
        Key("started_ms", REQUIRED, whole(0, 1 << 47), "drills only: real time of the start, ms since 1970"),
        Key("speed", REQUIRED, number(0.001, 100_000), "drills only: event time per real time"),
    ),
}
REQUIRED_TABLES = ("edge", "devices")
LIST_TABLES = ("port",)
# Files that are named: table, key, and whether it holds keys, so that it must be its owner's alone.
FILES = (
    ("office", "token_file", True), ("office", "ca_file", False), ("devices", "file", True),
    ("status", "viewer_token_file", True), ("status", "tls_cert", False), ("status", "tls_key", True),
    ("status", "control_token_file", True),
)  # fmt: skip
DEVICE_KEYS: tuple[Key, ...] = (
    Key("id", REQUIRED, whole(2, 0xFFFFFFFF), "the device's number"),
    Key("name", MISSING, text(1, 64), "what people call it"),
    Key("role", REQUIRED, one_of("tag", "barrier"), "tag or barrier"),
    Key("link_key", REQUIRED, hex_key, "key shared by device and edge"),
    Key("epoch", 0, whole(0, 65_535), "generation of the key"),
    Key(
        "revoked",
        default=False,
        check=flag,
        doc="drop the key: this device is refused until it is provisioned anew",
    ),
)
