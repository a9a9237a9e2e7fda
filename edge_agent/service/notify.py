"""Layer: tells the service manager how the process is (sd_notify(3)): one datagram each, nothing without systemd."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

MAX_STATUS = 400


class Notifier:
    """Sends to $NOTIFY_SOCKET; does nothing where there is none. A lost datagram is no error: the next one follows."""

    def __init__(self, environment: Mapping[str, str] = os.environ, process: int | None = None) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket: socket.socket | None = None
        self.lost = 0
        meant = environment.get("WATCHDOG_PID", "")
        usec = environment.get("WATCHDOG_USEC", "")
        mine = not meant or meant == str(os.getpid() if process is None else process)
        # Seconds within which the manager wants to hear WATCHDOG=1; None: it does not watch this process.
        self.watchdog_s: float | None = int(usec) / 1e6 if usec.isdigit() and int(usec) and mine else None

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return self._address[:1] in ("/", "\0")

    def send(self, *lines: str) -> bool:
        """Sends assignments such as "READY=1" together. False when nobody listens or the socket did not take them."""
        if not self.wanted:
            return False
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.settimeout(0)
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            self.lost += 1
            return False
        return True

    def close(self) -> None:
        """Gives the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def status(text: str) -> str:
    """STATUS= assignment: one line, printable, short."""
    return "STATUS=" + "".join(c if c.isprintable() else "?" for c in text)[:MAX_STATUS]
