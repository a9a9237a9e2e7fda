"""Reads and validates office.toml and the files it names; a mistake is named with file, line, key and remedy."""

from __future__ import annotations

import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from edge_agent import private_files
from edge_agent.clock import Rehearsal
from edge_agent.config_schema import (
    MISSING,
    PATH,
    REQUIRED,
    TABLES,
    Key,
    hex_key,
    listen,
    one_of,
    site_id,
    text,
    whole,
)
from edge_agent.errors import ConfigError
from edge_agent.toml_file import TomlFile  # the same reader for both configurations
from tools.office.machine_keys import CERTIFICATE

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_OFFSET = re.compile(r"^([+-])(\d\d):([0-5]\d)$")
_UID = re.compile(r"^(?:[0-9a-fA-F]{2}){1,16}$")


def sha256_hex(value: object) -> str | None:
    """A SHA-256 as 64 hexadecimal digits."""
    return None if hex_key(value) is None else 'a SHA-256 as 64 hexadecimal digits: printf %s "$TOKEN" | sha256sum'


def offset(value: object) -> str | None:
    """The difference from UTC."""
    good = isinstance(value, str) and _OFFSET.match(value) and int(value[1:3]) <= 14
    return None if good else 'the difference from UTC such as "+08:00"'


def card_uid(value: object) -> str | None:
    """The number of a card."""
    good = isinstance(value, str) and _UID.match(value)
    return None if good else 'the card\'s number in hexadecimal digits, such as "04a1b2c3d4e5f6"'


OFFICE: dict[str, tuple[Key, ...]] = {
    "office": (
        Key("listen", "127.0.0.1:8080", listen, "address and port; beyond this machine with https and a viewer token"),
        Key("data_dir", REQUIRED, PATH, "folder of the database; relative to this file"),
        Key("utc_offset", "+08:00", offset, "the difference from UTC in which pages show times"),
        Key("viewer_token_sha256", MISSING, sha256_hex, "who looks must know this token; none: whoever reaches it"),
        Key("tls_cert", MISSING, PATH, "PEM chain to serve https, with tls_key; else what `gatepost office init` made"),
        Key("tls_key", MISSING, PATH, "PEM key to serve https; with tls_cert"),
    ),
    "site": (
        Key("id", REQUIRED, site_id, "the site's id, as its edge sends it"),
        Key("name_zh", MISSING, text(1, 80), "the site's name in Chinese"),
        Key("name_en", MISSING, text(1, 80), "the site's name in English"),
        Key("token_sha256", MISSING, sha256_hex, "SHA-256 of an upload token, for a site without enrolment"),
    ),
    "devices": (Key("file", REQUIRED, PATH, "event keys of the devices (TOML, mode 0600); relative to this file"),),
    "cards": (Key("file", REQUIRED, PATH, "names of cards and checkpoints (TOML); relative to this file"),),
    "log": (Key("level", "info", one_of("debug", "info", "warning", "error"), "least level that is written"),),
    "rehearsal": TABLES["rehearsal"],
}
_LISTS = ("site",)
_DEVICE = (
    Key("site", REQUIRED, site_id, "the site's id"),
    Key("id", REQUIRED, whole(0, 0xFFFFFFFF), "the device's number"),
    Key("name", MISSING, text(0, 80), "what people call it"),
    Key("name_en", MISSING, text(0, 80), "what people call it in English, if different"),
    Key("event_key", REQUIRED, hex_key, "the key of the device's event chain"),
)
_CARD = (
    Key("site", REQUIRED, site_id, "the site's id"),
    Key("uid", REQUIRED, card_uid, "the card's number"),
    Key("name", REQUIRED, text(1, 80), "what people call it"),
    Key("name_en", MISSING, text(0, 80), "what people call it in English, if different"),
)


@dataclass(frozen=True)
class Name:
    """What people call a thing, in both languages."""

    zh: str
    en: str

    def in_language(self, language: str) -> str:
        """language: "zh" or "en"."""
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True)
class Site:
    """A site that may send."""

    id: str
    name: Name
    token_sha256: bytes | None  # None: only enrolled edges send


@dataclass(frozen=True, repr=False)
class Config:
    """Everything, checked; paths absolute, event keys by (site, device)."""

    listen: tuple[str, int]
    data_dir: Path
    utc_offset_min: int
    viewer_sha256: bytes | None
    tls: tuple[Path, Path] | None  # certificate and key, maybe in one file
    sites: dict[str, Site]
    event_keys: dict[tuple[str, int], bytes]
    device_names: dict[tuple[str, int], Name]
    card_names: dict[tuple[str, bytes], Name]
    log_level: str
    rehearsal: Rehearsal | None


def load(path: Path | str, *, serve: bool = True) -> Config:
    """Path of office.toml -> Config. serve: refuse what must not listen like that. Raises ConfigError."""
    file = TomlFile(Path(path).absolute())
    file.refuse_unknown("", 0, file.data, list(OFFICE))
    tables = _tables(file)
    office = tables["office"]
    sites = _sites(file)
    names: dict[tuple[str, int], Name] = {}
    keys: dict[tuple[str, int], bytes] = {}
    if "devices" in tables:
        keys, names = _devices(_beside(file, cast(str, tables["devices"]["file"])), sites)
    cards: dict[tuple[str, bytes], Name] = {}
    if "cards" in tables:
        cards = _cards(_beside(file, cast(str, tables["cards"]["file"])), sites)
    viewer = cast(str, office["viewer_token_sha256"])
    host, _, port = cast(str, office["listen"]).rpartition(":")
    host = host.strip("[]")
    data_dir = _beside(file, cast(str, office["data_dir"]))
    tls = _tls(file, cast(str, office["tls_cert"]), cast(str, office["tls_key"]), data_dir)
    if serve and host not in LOOPBACK and not viewer:
        problem = "other machines could read residents' data: set viewer_token_sha256, or listen on 127.0.0.1"
        raise file.error("office", 0, "listen", problem)
    if serve and host not in LOOPBACK and tls is None:
        problem = (
            f"others on the line could listen in: run gatepost office init --config {file.source}, "
            "set tls_cert and tls_key, or listen on 127.0.0.1"
        )
        raise file.error("office", 0, "listen", problem)
    sign, hours, minutes = cast(re.Match[str], _OFFSET.match(cast(str, office["utc_offset"]))).groups()
    plan = tables.get("rehearsal")
    return Config(
        listen=(host, int(port)),
        data_dir=data_dir,
        utc_offset_min=(int(hours) * 60 + int(minutes)) * (-1 if sign == "-" else 1),
        viewer_sha256=bytes.fromhex(viewer) if viewer else None,
        tls=tls,
        sites=sites,
        event_keys=keys,
        device_names=names,
        card_names=cards,
        log_level=cast(str, tables["log"]["level"]),
        rehearsal=Rehearsal(**plan) if plan else None,  # type: ignore[arg-type]  # checked by the table
    )


def _tables(file: TomlFile) -> dict[str, dict[str, object]]:
    tables: dict[str, dict[str, object]] = {}
    for name, keys in OFFICE.items():
        if name in _LISTS:
            continue
        if name in file.data or name == "office":
            tables[name] = file.table(name, 0, file.data.get(name, {}), keys)
        elif not any(key.default is REQUIRED for key in keys):
            tables[name] = {key.name: key.default for key in keys}
    return tables


def _beside(file: TomlFile, name: str) -> Path:
    return file.path.parent / Path(name).expanduser()


def _tls(file: TomlFile, cert: str, key: str, data_dir: Path) -> tuple[Path, Path] | None:
    if bool(cert) != bool(key):
        raise file.error("office", 0, "tls_cert" if cert else "tls_key", "needs the other one of tls_cert, tls_key")
    own = data_dir / CERTIFICATE
    if not cert and not own.exists():
        return None
    found = (_beside(file, cert), _beside(file, key)) if cert else (own, own)
    private_files.check_file(found[1])
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(*found)
    except (OSError, ssl.SSLError) as error:
        raise file.error("office", 0, "tls_cert", f"can't be used with tls_key: {error}") from error
    return found


def _entries(file: TomlFile, name: str, keys: tuple[Key, ...]) -> list[dict[str, object]]:
    entries = file.data.get(name, [])
    if not isinstance(entries, list):
        raise file.error(name, 0, "", f"must be a list of tables: lines [[{name}]]")
    return [file.table(name, index, entry, keys) for index, entry in enumerate(entries)]


def _sites(file: TomlFile) -> dict[str, Site]:
    sites: dict[str, Site] = {}
    for index, entry in enumerate(_entries(file, "site", OFFICE["site"])):
        site = cast(str, entry["id"])
        if site in sites:
            raise file.error("site", index, "id", f'"{site}" stands here twice; every site has one [[site]]')
        zh, en = cast(str, entry["name_zh"]), cast(str, entry["name_en"])
        token = bytes.fromhex(cast(str, entry["token_sha256"]))
        sites[site] = Site(site, Name(zh or en or site, en or zh or site), token or None)
    if not sites:
        raise file.error("site", 0, "", "is missing: one [[site]] with its id for every site")
    return sites


def _site_of(file: TomlFile, table: str, index: int, entry: dict[str, object], sites: dict[str, Site]) -> str:
    site = cast(str, entry["site"])
    if site not in sites:
        known = ", ".join(f'"{name}"' for name in sites)
        raise file.error(table, index, "site", f'"{site}" is no site of this office; its sites are {known}')
    return site


def event_keys(path: Path) -> dict[tuple[str, int], bytes]:
    """The event keys of a file by (site, device), whatever the sites. Raises ConfigError."""
    return _devices(path, None)[0]


def _devices(
    path: Path, sites: dict[str, Site] | None
) -> tuple[dict[tuple[str, int], bytes], dict[tuple[str, int], Name]]:
    file = TomlFile(path)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(str(path), None, "", f"holds keys that others can read: chmod 600 {path.name}")
    file.refuse_unknown("", 0, file.data, ["device"])
    keys: dict[tuple[str, int], bytes] = {}
    names: dict[tuple[str, int], Name] = {}
    for index, entry in enumerate(_entries(file, "device", _DEVICE)):
        site = cast(str, entry["site"]) if sites is None else _site_of(file, "device", index, entry, sites)
        at = (site, cast(int, entry["id"]))
        if at in keys:
            raise file.error("device", index, "id", f"{at[1]} stands here twice for this site")
        keys[at] = bytes.fromhex(cast(str, entry["event_key"]))
        if entry["name"] or entry["name_en"]:
            names[at] = _name(entry)
    return keys, names


def _cards(path: Path, sites: dict[str, Site]) -> dict[tuple[str, bytes], Name]:
    file = TomlFile(path)
    file.refuse_unknown("", 0, file.data, ["card"])
    return {
        (_site_of(file, "card", index, entry, sites), bytes.fromhex(cast(str, entry["uid"]))): _name(entry)
        for index, entry in enumerate(_entries(file, "card", _CARD))
    }


def _name(entry: dict[str, object]) -> Name:
    name, english = cast(str, entry["name"]), cast(str, entry["name_en"])
    return Name(name or english, english or name)
