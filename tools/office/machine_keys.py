"""What the office's machine holds of its own: its certificate with its key, the next one, the key of sessions."""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import socket
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_agent import private_files
from edge_agent.errors import ConfigError
from edge_agent.logs import Log
from edge_agent.pinning import pin_of

CERTIFICATE, NEXT = "office.pem", "next.pem"  # key and certificate in one file: renaming changes both at once
SESSION_KEY = "session.key"
YEARS = 100  # edges go by the pin; a date would only stop a site whose clock is wrong
MAX_FILE = 64 * 1024

_log = Log("office")


def make_certificate(path: Path) -> bytes:
    """A self-signed certificate and its key in one new file (0600) -> its pin. Raises ConfigError."""
    key = ec.generate_private_key(ec.SECP256R1())
    host = socket.gethostname()[:63] or "office"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Gatepost {host}"[:64])])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=365 * YEARS))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    x509.DNSName(host),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                    x509.IPAddress(ipaddress.ip_address("::1")),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_files.write(path, (secret + made.public_bytes(Encoding.PEM)).decode())
    except OSError as error:
        raise ConfigError(str(path), None, "", f"can't be written: {error.strerror}") from error
    return pin_of(made)


def pin_of_file(path: Path) -> bytes:
    """The pin of the first certificate in a PEM file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            found = x509.load_pem_x509_certificates(file.read(MAX_FILE))
        return pin_of(found[0])
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(path.name, None, "", f"is no certificate that can be read: {error}") from error


class Following:
    """The pin of the next certificate, from the moment that `gatepost office renew` has made it.

    `renew --switch` takes an edge that was here since for one that has heard of it. Once told, a pin is told as long as
    the process lives: between `--switch` and the restart edges must not forget it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NEXT
        self._at = 0
        self.pin = ""  # in hex; "" while there is none that can be read

    def look(self) -> None:
        """Renews `pin`; called for every answer, so it looks at the file's date only."""
        try:
            at = self._path.stat().st_mtime_ns
            if at != self._at:
                self._at = at
                self.pin = pin_of_file(self._path).hex()
        except FileNotFoundError:
            pass
        except (OSError, ConfigError) as error:
            _log.error("the next certificate can't be announced", problem=str(error))


def session_key(folder: Path) -> bytes:
    """32 bytes that stay the same over restarts; made at the first. Raises ConfigError."""
    path = folder / SESSION_KEY
    try:
        if not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_files.write(path, secrets.token_hex(32) + "\n")
        private_files.check_file(path)
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), encoding="ascii") as file:
            found = bytes.fromhex(file.read(80).strip())
    except (OSError, ValueError) as error:
        raise ConfigError(path.name, None, "", f"can't be used: {error}; move it aside") from error
    if len(found) != 32:
        raise ConfigError(path.name, None, "", "is damaged; move it aside: everybody signs in again")
    return found
