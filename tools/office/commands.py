"""What is done on the office's machine, beside the running server or without it: certificate, codes, revoking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from edge_agent import private_files
from edge_agent.clock import Clock
from edge_agent.config_schema import site_id, url
from edge_agent.errors import ConfigError
from edge_agent.identity import fingerprint
from edge_agent.one_time_code import LOOPBACK, PIN_BYTES, Ticket, line, new_code
from tools.errors import ToolError
from tools.office import config as configuration
from tools.office import machine_keys
from tools.office.config import Config
from tools.office.errors import OfficeError
from tools.office.store.base import Code
from tools.office.store.sqlite import SqliteStore

MAX_MINUTES = 7 * 24 * 60


def init(config_file: Path) -> str:
    """Make the certificate, unless there is one -> its pin for people. Raises ToolError."""
    config = _load(config_file)
    if config.tls is not None:
        return f"there is a certificate already; its pin is {_pin(config.tls[0]).hex()}"
    with _told():
        pin = machine_keys.make_certificate(config.data_dir / machine_keys.CERTIFICATE)
    return f"made {machine_keys.CERTIFICATE} in {config.data_dir.name}/; its pin is {pin.hex()}"


def renew(config_file: Path, *, switch: bool, anyway: bool) -> str:
    """Make the next certificate, which edges hear of; switch: put it in the present one's place. Raises ToolError."""
    config = _load(config_file)
    own, following = (config.data_dir / name for name in (machine_keys.CERTIFICATE, machine_keys.NEXT))
    if config.tls is None or config.tls[0] != own:
        raise ToolError("only a certificate that gatepost office init made can be renewed like that")
    if not switch:
        if following.exists():
            return "the next certificate is there already; when all edges have heard of it: --switch"
        with _told():
            pin = machine_keys.make_certificate(following)
        return f"made the next certificate, pin {pin.hex()}: edges hear of it with each batch; then --switch"
    if not following.exists():
        raise ToolError("there is no next certificate: gatepost office renew without --switch makes it")
    made_ms = int(following.stat().st_ctime * 1000)  # when it came to stand there, whole
    with _store(config) as store:
        late = [
            f"{one.site}/{one.edge}"
            for one in store.edges.edges()
            if one.revoked_ms is None and (one.seen_ms or 0) < made_ms
        ]
    if late and not anyway:
        raise ToolError(f"not heard of it yet: {', '.join(late)}; with --anyway they must be enrolled again")
    following.replace(own)
    return "the next certificate is the present one: restart the office"


def enrol(
    config_file: Path, site: str, edge: str, minutes: int, address: str | None, certificate: Path | None
) -> str:
    """A one-time code for an edge, as the one line for `gatepost edge enrol`. Raises ToolError.

    address: how the edge reaches this office; certificate: of a proxy that serves https in front of it.
    """
    config = _load(config_file)
    _check_site(config, site)
    if site_id(edge) is not None:
        raise ToolError(f"--edge {edge}: right are {site_id(edge)}")
    if not 1 <= minutes <= MAX_MINUTES:
        raise ToolError(f"--valid-minutes {minutes}: right is a number from 1 to {MAX_MINUTES:,}")
    if certificate is None and config.tls is not None:
        certificate = config.tls[0]
    where = _address(config, address, "http" if certificate is None else "https")
    pin = _pin(certificate)[:PIN_BYTES] if certificate is not None else b""
    code = new_code()
    now_ms = Clock(config.rehearsal).now_ms()
    with _store(config) as store:
        kept = Code(sha256(code.encode()).digest(), pin, now_ms + minutes * 60_000)
        store.edges.make_code(store.site_key(site), edge, kept, now_ms)
    return line(Ticket(where, site, edge, code, pin))


def edges(config_file: Path) -> str:
    """Every edge and how it stands. Raises ToolError."""
    config = _load(config_file)
    with _store(config) as store:
        found = store.edges.edges()
    if not found:
        return "no edge is enrolled: gatepost office enrol --site S --edge E makes a code for one"
    lines = []
    for one in found:
        state = f"REVOKED {_when(config, one.revoked_ms)}" if one.revoked_ms is not None else "enrolled"
        lines.append(
            f"{one.site}/{one.edge}: {state}, since {_when(config, one.enrolled_ms)}, last batch"
            f" {_when(config, one.seen_ms)}, key {fingerprint(one.public_key)}"
        )
    return "\n".join(lines)


def revoke(config_file: Path, site: str, edge: str) -> str:
    """From now on the office takes nothing of this edge. Raises ToolError."""
    config = _load(config_file)
    _check_site(config, site)
    with _store(config) as store:
        if not store.edges.revoke(store.site_key(site), edge, Clock(config.rehearsal).now_ms()):
            raise ToolError(f"{site}/{edge} was never enrolled; an unused code of it counts no longer")
    return f"{site}/{edge}: revoked; its next batch is refused, and it keeps what it has until it is enrolled again"


def _load(path: Path) -> Config:
    with _told():
        config = configuration.load(path, serve=False)
        private_files.check_user(config.data_dir)
        return config


@contextmanager
def _told() -> Iterator[None]:
    """Mistakes and failures in one line."""
    try:
        yield
    except (ConfigError, OfficeError) as error:
        raise ToolError(str(error)) from error


@contextmanager
def _store(config: Config) -> Iterator[SqliteStore]:
    with _told():
        store = SqliteStore(config.data_dir, command=True)
        try:
            yield store
        finally:
            store.close()


def _check_site(config: Config, site: str) -> None:
    if site not in config.sites:
        raise ToolError(
            f"--site {site}: is no site of this office; its sites are {', '.join(sorted(config.sites))}"
        )


def _pin(certificate: Path) -> bytes:
    with _told():
        return machine_keys.pin_of_file(certificate)


def _address(config: Config, given: str | None, scheme: str) -> str:
    """Where edges reach this office: as said, or where it listens if that is one address."""
    host, port = config.listen
    if given is None:
        if host in ("0.0.0.0", "::") or not port:  # noqa: S104 - recognised, not listened on
            raise ToolError(
                f"--url is needed: how the edge reaches this office, such as {scheme}://192.168.7.2:8443"
            )
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    parts = urlsplit(given)
    if url(given) is not None or parts.path not in ("", "/"):
        raise ToolError(f"--url {given}: right is an address such as {scheme}://192.168.7.2:8443")
    if parts.scheme != scheme:
        remedy = "" if scheme == "https" else ": gatepost office init makes a certificate"
        raise ToolError(f"--url {given}: this office speaks {scheme}{remedy}")
    if scheme == "http" and parts.hostname not in LOOPBACK:
        raise ToolError(f"--url {given}: without a certificate only edges on this machine can be enrolled")
    return given.rstrip("/")


def _when(config: Config, t_ms: int | None) -> str:
    if t_ms is None:
        return "never"
    zone = timezone(timedelta(minutes=config.utc_offset_min))
    return datetime.fromtimestamp(t_ms / 1000, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M")
