"""Layer: looks at the site's own things: the store, who holds it, and the way to the office."""

from __future__ import annotations

import fcntl
import http.client
import json
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import apsw
from cryptography import x509

from edge_agent import config as configuration
from edge_agent import enrolment, own_events
from edge_agent.errors import StoreError, StoreUnreadError
from edge_agent.pinning import pin_of
from edge_agent.store import copies
from edge_agent.store.database import FILE_NAME, LOCK_NAME, TRANSIENT, schema_steps
from edge_agent.web import texts as page_texts
from edge_agent.web import verdict
from gatelink import cbor
from gatelink.errors import GatelinkError
from tools.doctor.facts import Agent, Aside, Office, Store
from tools.restore import ASIDE

TIMEOUT_S = 10.0
HEALTH = "/healthz"
MAX_STATUS = 4 * 1024 * 1024
DAY_MS = 86_400_000
HERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - asked, not bound


def store(data_dir: Path, own_device: int, now_ms: int) -> Store:
    """Reads all of it, without a lock and without a change; an agent may be at work."""
    path = data_dir / FILE_NAME
    known = len(schema_steps())
    if not path.exists():
        return Store(0, known, "", 0, 0)
    wal = data_dir / f"{FILE_NAME}-wal"
    wal_bytes = wal.stat().st_size if wal.exists() else 0
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(5_000)
            version = int(connection.pragma("user_version"))
            if version > known or version == 0:
                return Store(version, known, "", wal_bytes, 0)
            waiting = copies.check(path).waiting
            steps = _steps(connection, own_device, now_ms - DAY_MS)
            return Store(version, known, "", wal_bytes, waiting, steps)
        finally:
            connection.close()
    except (*TRANSIENT, StoreUnreadError) as error:
        return Store(0, known, "", wal_bytes, 0, unread=str(error))
    except (StoreError, apsw.Error, GatelinkError) as error:
        return Store(0, known, str(error), wal_bytes, 0)


def aside(data_dir: Path) -> Aside:
    """What restores and rollbacks left in data_dir."""
    folders = sorted(path for path in data_dir.glob(f"{ASIDE}-*") if path.is_dir())
    return Aside(tuple(map(str, folders)), sum(map(_size, folders)))


def _size(folder: Path) -> int:
    """Bytes of its files; 0 where this user may not look: a restore by root leaves a folder of root's."""
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except OSError:
        return 0


def _steps(connection: apsw.Connection, own_device: int, since_ms: int) -> tuple[int, ...]:
    """By how much the agent saw the clock set since then."""
    found = connection.execute(
        "SELECT items FROM log WHERE device = ? AND received_ms >= ? AND last_seq = first_seq",
        (own_device, since_ms),
    )
    payloads = [cbor.loads(bytes(items)) for (items,) in found]
    return tuple(payload[1] for payload in payloads if payload[0] == own_events.CLOCK_STEP)


def says(config: configuration.Config, seen: Agent) -> Agent:
    """What the running agent finds wrong itself (GET /status)."""
    host, port = config.status_listen
    if seen.pid is None or not port:
        return seen
    host = HERE.get(host, f"[{host}]" if ":" in host else host)
    url = f"http{'s' if config.status_tls else ''}://{host}:{port}/status"
    request = urllib.request.Request(url)  # noqa: S310 - made above
    if config.viewer_token:
        request.add_header("Authorization", f"Bearer {config.viewer_token}")
    anyone = _context(None, pinned=True)  # it is this machine; the lock has said who listens
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=anyone) as answer:  # noqa: S310 - see above
            concerns = verdict.concerns(json.loads(answer.read(MAX_STATUS)))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return seen._replace(url=url, error=str(error)[:200])
    told = []
    for one in concerns:
        chinese, english = page_texts.TEXTS[one.text]
        told.append((one.mood == "bad", chinese.format(*one.values), english.format(*one.values), one.text))
    return seen._replace(url=url, says=tuple(told))


def agent(data_dir: Path) -> Agent:
    """Who holds the store."""
    try:
        with (data_dir / LOCK_NAME).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                said = lock.read(20).strip()
                return Agent(int(said) if said.isdigit() else 0)
    except OSError:
        return Agent(None)
    return Agent(None)


def office(config: configuration.Config) -> Office | None:
    """Goes the way to the office step by step, as far as it leads."""
    wanted = config.office
    if wanted is None or not wanted.url:  # [office] is there, and this edge not enrolled yet
        return None
    known = enrolment.load(config.data_dir, config.site, config.edge)
    pins = known.pins if known is not None else ()
    parts = urlsplit(wanted.url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)

    def ended(stage: str, error: Exception | str = "", ahead_ms: int | None = None) -> Office:
        said = (getattr(error, "strerror", None) or str(error)) if error else ""
        return Office(wanted.url, stage, str(said)[:200], ahead_ms, bool(pins), secure)

    try:
        socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return ended("name", error)
    try:
        line = socket.create_connection((str(parts.hostname), port), timeout=TIMEOUT_S)
    except OSError as error:
        return ended("connect", error)
    try:
        if secure:
            context = _context(wanted.ca_file, pinned=bool(pins))
            line = safe = context.wrap_socket(line, server_hostname=parts.hostname)
            der = safe.getpeercert(binary_form=True)
            if pins and (der is None or pin_of(x509.load_der_x509_certificate(der)) not in pins):
                return ended("pin")
    except (OSError, ValueError) as error:
        return ended("tls", error)
    else:
        return _asked(line, f"{parts.path}{HEALTH}", str(parts.hostname), ended)
    finally:
        line.close()


def _asked(line: socket.socket, path: str, host: str, ended: Callable[..., Office]) -> Office:
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT_S)
    connection.sock = line
    try:
        before_s = time.time()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read(4_096)
        middle_s = (before_s + time.time()) / 2
        said = answer.getheader("Date", "")
    except (OSError, http.client.HTTPException) as error:
        return ended("answer", error)
    if answer.status != 200:
        return ended("answer", f"HTTP {answer.status}")
    try:
        # The header tells whole seconds, so half of one on the average later.
        ahead_ms = round((parsedate_to_datetime(said).timestamp() + 0.5 - middle_s) * 1_000)
    except ValueError:
        ahead_ms = None
    return ended("", "", ahead_ms)


def _context(ca_file: Path | None, *, pinned: bool) -> ssl.SSLContext:
    if not pinned:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the pin is what counts, as for the agent itself
    return context
