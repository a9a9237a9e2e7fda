"""What answers where an office should be, and the configuration that leads there."""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class Answers(BaseHTTPRequestHandler):
    """An office's /healthz; its clock may be another one."""

    ahead_s = 0
    status = 200

    def do_GET(self) -> None:
        self.send_response_only(type(self).status if self.path == "/healthz" else 404)
        at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=type(self).ahead_s)
        self.send_header("Date", at.strftime("%a, %d %b %Y %H:%M:%S GMT"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def answering(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    Answers.ahead_s, Answers.status = 0, 200
    server = HTTPServer(("127.0.0.1", 0), Answers)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def to(url: str, **more: str) -> str:
    lines = "".join(f'{key} = "{value}"\n' for key, value in more.items())
    return f'[office]\nurl = "{url}"\ntoken = "a-token-for-tests"\n{lines}'
