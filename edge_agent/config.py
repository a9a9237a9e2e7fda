"""Layer: reads and validates the configuration files; a mistake is named with file, line, key and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

from edge_agent import enrolment, private_files
from edge_agent.clock import Rehearsal
from edge_agent.config_schema import (
    DEVICE_KEYS,
    FILES,
    LIST_TABLES,
    MISSING,
    REQUIRED,
    REQUIRED_TABLES,
    TABLES,
)
from edge_agent.enrolment import Enrolled
from edge_agent.errors import ConfigError
from edge_agent.toml_file import TomlFile

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Office(NamedTuple):
    """Where batches go and how patiently; times real. No token: the edge is enrolled, or will be (data_dir)."""

    url: str
    token: str
    ca_file: Path | None
    timeout_s: float
    connect_timeout_s: float
    backoff_min_ms: int
    backoff_max_ms: int
    probe_s: float
    batch_rows: int
    batch_bytes: int
    in_flight: int
    head_pause_s: float
    edge: str
    data_dir: Path


class PortConfig(NamedTuple):
    """One port: serial and rs485 have a path, rs485 devices and direction, dock patterns, udp has listen.

    elsewhere: the paths of all ports that have one.
    """

    kind: str
    name: str
    path: str
    baudrate: int
    listen: tuple[str, int]
    reconnect_max_ms: int
    devices: tuple[int, ...] = ()
    direction: str = ""
    match: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()


class DeviceConfig(NamedTuple):
    """One device that may talk to this edge; role as on the wire: 1 tag, 2 barrier."""

    device: int
    name: str
    role: int
    link_key: bytes
    epoch: int
    revoked: bool = False

    def __repr__(self) -> str:
        return f"DeviceConfig({self.device}, {self.name!r})"


class Config(NamedTuple):
    """The whole configuration, checked; paths absolute."""

    source: Path
    site: str
    edge: str
    data_dir: Path
    device_id: int
    office: Office | None
    ports: tuple[PortConfig, ...]
    devices: tuple[DeviceConfig, ...]
    window: int
    offline_after_ms: int
    command_retry_ms: int
    update_gap_ms: int
    clock_error_ms: int
    clock_source: str
    drift_ppm: int
    max_wait_ms: int
    max_events: int
    queue_frames: int
    keep_days: int
    reserve_mb: int
    ballast_mb: int
    status_listen: tuple[str, int]
    status_tls: tuple[Path, Path] | None
    viewer_token: str
    control_token: str
    log_level: str
    rehearsal: Rehearsal | None


def load(path: Path | str) -> Config:
    """Path of edge.toml -> Config. Raises ConfigError."""
    file = TomlFile(Path(path).absolute())
    file.refuse_unknown("", 0, file.data, list(TABLES))
    tables: dict[str, dict[str, object]] = {}
    for name, keys in TABLES.items():
        if name in LIST_TABLES:
            continue
        if name in REQUIRED_TABLES and name not in file.data:
            raise ConfigError(
                file.source, None, f"[{name}]", "is missing: " + ", ".join(k.name for k in keys)
            )
        if name in file.data:
            tables[name] = file.table(name, 0, file.data[name], keys)
        elif not any(key.default is REQUIRED for key in keys):
            tables[name] = {key.name: key.default for key in keys}
    edge = tables["edge"]
    device_id = cast(int, edge["device_id"])
    data_dir = _resolve(file, edge["data_dir"])
    private_files.check_folder(data_dir)
    enrolled = enrolment.load(data_dir, cast(str, edge["site"]), cast(str, edge["id"]))
    devices = load_devices(_resolve(file, tables["devices"]["file"]), device_id)
    rehearsal = tables.get("rehearsal")
    status = tables["status"]
    control = _secret(file, "status", "control_token_file", status["control_token_file"])
    viewer = _secret(file, "status", "viewer_token_file", status["viewer_token_file"])
    if not viewer and _address(status["listen"])[0] not in LOOPBACK:
        raise file.error(
            "status", 0, "listen", "others can reach this address: set viewer_token_file, or listen on 127.0.0.1"
        )
    return Config(
        source=file.path,
        site=cast(str, edge["site"]),
        edge=cast(str, edge["id"]),
        data_dir=data_dir,
        device_id=device_id,
        office=_office(file, tables["office"], cast(str, edge["id"]), data_dir, enrolled)
        if "office" in file.data or enrolled
        else None,
        ports=_ports(file, {each.device for each in devices}),
        devices=devices,
        window=cast(int, tables["link"]["window"]),
        offline_after_ms=cast(int, tables["link"]["offline_after_s"]) * 1000,
        command_retry_ms=cast(int, tables["link"]["command_retry_ms"]),
        update_gap_ms=cast(int, tables["link"]["update_gap_ms"]),
        clock_error_ms=cast(int, tables["time"]["error_ms"]),
        clock_source=cast(str, tables["time"]["source"]),
        drift_ppm=cast(int, tables["time"]["drift_ppm"]),
        max_wait_ms=cast(int, tables["commit"]["max_wait_ms"]),
        max_events=cast(int, tables["commit"]["max_events"]),
        queue_frames=cast(int, tables["commit"]["queue_frames"]),
        keep_days=cast(int, tables["retention"]["keep_days"]),
        reserve_mb=cast(int, tables["disk"]["reserve_mb"]),
        ballast_mb=cast(int, tables["disk"]["ballast_mb"]),
        status_listen=_address(status["listen"]),
        status_tls=_tls(file, status),
        viewer_token=viewer,
        control_token=control,
        log_level=cast(str, tables["log"]["level"]),
        rehearsal=Rehearsal(
            cast(int, rehearsal["epoch_ms"]),
            cast(int, rehearsal["started_ms"]),
            cast(float, rehearsal["speed"]),
        )
        if rehearsal
        else None,
    )


class NamedFile(NamedTuple):
    """A file that edge.toml names; private: it holds keys; table: where it is named."""

    path: Path
    private: bool
    table: str = ""


def named_files(source: Path, tables: Mapping[str, object]) -> tuple[NamedFile, ...]:
    """What edge.toml at `source` names, of its tables as they stand there: they may hold mistakes."""
    found = []
    for table, key, private in FILES:
        values = tables.get(table)
        value = values.get(key) if isinstance(values, dict) else None
        if isinstance(value, str) and value != MISSING:
            found.append(NamedFile(source.absolute().parent / value, private, table))
    return tuple(found)


def _resolve(file: TomlFile, value: object) -> Path:
    return (file.path.parent / cast(str, value)).absolute()


def _address(value: object) -> tuple[str, int]:
    host, _, port = cast(str, value).rpartition(":")
    return host.strip("[]"), int(port)


def _secret(file: TomlFile, table: str, key: str, value: object) -> str:
    """First line of a file that only its owner may read; "" if no file is named."""
    if value == MISSING:
        return ""
    path = _resolve(file, value)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise file.error(table, 0, key, f"{path.name} can't be read: {error}") from error
    try:
        private_files.check_file(path)
        private_files.check_place(path)
    except ConfigError as error:
        raise file.error(table, 0, key, f"{path.name} {error.problem}") from error
    token = lines[0].strip() if lines else ""
    if not token:
        raise file.error(table, 0, key, f"{path.name} is empty; right is the token in its first line")
    return token


def _tls(file: TomlFile, values: dict[str, object]) -> tuple[Path, Path] | None:
    cert, key = values["tls_cert"], values["tls_key"]
    if (cert == MISSING) != (key == MISSING):
        raise file.error("status", 0, "tls_cert", "tls_cert and tls_key belong together")
    if cert == MISSING:
        return None
    _secret(file, "status", "tls_key", key)
    return _resolve(file, cert), _resolve(file, key)


def _office(
    file: TomlFile, values: dict[str, object], edge: str, data_dir: Path, enrolled: Enrolled | None
) -> Office:
    given = [name for name in ("url", "token", "token_file", "ca_file") if values[name] != MISSING]
    if given and enrolled:
        problem = (
            f"this edge is enrolled ({enrolment.FILE_NAME} in data_dir): leave url, token and ca_file out"
        )
        raise file.error("office", 0, given[0], problem)
    if given and values["url"] == MISSING:
        raise file.error("office", 0, given[0], "needs url; an enrolled edge needs none of these")
    if given and bool(values["token"]) == bool(values["token_file"]):
        raise file.error("office", 0, "token", 'exactly one of "token" and "token_file" is needed')
    token = cast(str, values["token"]) or _secret(file, "office", "token_file", values["token_file"])
    ca_file = None
    if values["ca_file"] != MISSING:
        ca_file = _resolve(file, values["ca_file"])
        if not ca_file.is_file():
            raise file.error("office", 0, "ca_file", f"{ca_file.name} does not exist")
    if cast(int, values["backoff_min_ms"]) > cast(int, values["backoff_max_ms"]):
        raise file.error("office", 0, "backoff_min_ms", "is larger than backoff_max_ms")
    return Office(
        url=enrolled.url if enrolled else cast(str, values["url"]).rstrip("/"),
        token=token,
        ca_file=ca_file,
        timeout_s=cast(float, values["timeout_s"]),
        connect_timeout_s=cast(float, values["connect_timeout_s"]),
        backoff_min_ms=cast(int, values["backoff_min_ms"]),
        backoff_max_ms=cast(int, values["backoff_max_ms"]),
        probe_s=cast(float, values["probe_s"]),
        batch_rows=cast(int, values["batch_rows"]),
        batch_bytes=cast(int, values["batch_bytes"]),
        in_flight=cast(int, values["in_flight"]),
        head_pause_s=cast(float, values["head_pause_s"]),
        edge=edge,
        data_dir=data_dir,
    )


# What a port of each kind can't be without; none of it belongs to a port of another kind.
_NEEDED = {"serial": ("path",), "rs485": ("path", "devices"), "dock": (), "udp": ("listen",)}
_ONLY = {
    "path": ("serial", "rs485"), "devices": ("rs485",), "direction": ("rs485",), "match": ("dock",), "listen": ("udp",),
}  # fmt: skip


def _ports(file: TomlFile, known: set[int]) -> tuple[PortConfig, ...]:
    found = file.data.get("port", [])
    if not isinstance(found, list):
        raise file.error("port", 0, "", "must be written [[port]], once for every port")
    ports: list[PortConfig] = []
    for index, entry in enumerate(found):
        values = file.table("port", index, entry, TABLES["port"])
        kind = cast(str, values["kind"])
        for key in _NEEDED[kind]:
            if values[key] == MISSING:
                raise file.error("port", index, "", f'"{key}" is missing: {_article(kind)} port needs it')
        for key, kinds in _ONLY.items():
            if kind not in kinds and key in cast(dict[str, object], entry):
                raise file.error("port", index, key, f"does not belong to {_article(kind)} port; leave it out")
        path = str(_resolve(file, values["path"])) if "path" in _NEEDED[kind] else ""
        listen = _address(values["listen"]) if kind == "udp" else ("", 0)
        by = _NEEDED[kind][0] if _NEEDED[kind] else "kind"
        name = cast(str, values["name"]) or cast(str, values[by])
        if any(port.name == name for port in ports):
            raise file.error(
                "port",
                index,
                "name" if values["name"] else by,
                f"{name!r} is there twice; every port needs its own name",
            )
        devices = tuple(cast(list[int], values["devices"] or []))
        for device in devices:
            if device not in known:
                raise file.error("port", index, "devices", f"{device} is not among the [devices]")
            if any(device in port.devices for port in ports):
                raise file.error("port", index, "devices", f"{device} is on another bus already")
        ports.append(
            PortConfig(
                kind, name, path, cast(int, values["baudrate"]), listen, cast(int, values["reconnect_max_ms"]),
                devices, cast(str, values["direction"]), tuple(cast(list[str], values["match"])),
            )
        )  # fmt: skip
    paths = tuple(port.path for port in ports if port.path)
    return tuple(port._replace(elsewhere=paths) for port in ports)


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "rs485" else f"a {kind}"


def load_devices(path: Path, own_device: int) -> tuple[DeviceConfig, ...]:
    """Path of devices.toml -> devices, sorted by id. Raises ConfigError; the file must be its owner's alone."""
    file = TomlFile(path)
    private_files.check_file(path)
    private_files.check_place(path)
    file.refuse_unknown("", 0, file.data, ["device"])
    found = file.data.get("device", [])
    if not isinstance(found, list):
        raise file.error("device", 0, "", "must be written [[device]], once for every device")
    devices: dict[int, DeviceConfig] = {}
    for index, entry in enumerate(found):
        if isinstance(entry, dict) and "event_key" in entry:
            raise file.error(
                "device", index, "event_key", "must not be on the edge: only device and office hold it"
            )
        values = file.table("device", index, entry, DEVICE_KEYS)
        device = cast(int, values["id"])
        if device in devices or device == own_device:
            owner = "the edge itself ([edge] device_id)" if device == own_device else "another device"
            raise file.error("device", index, "id", f"{device} is used by {owner}; every number only once")
        devices[device] = DeviceConfig(
            device,
            cast(str, values["name"]),
            {"tag": 1, "barrier": 2}[cast(str, values["role"])],
            bytes.fromhex(cast(str, values["link_key"])),
            cast(int, values["epoch"]),
            cast(bool, values["revoked"]),
        )
    return tuple(devices[device] for device in sorted(devices))
