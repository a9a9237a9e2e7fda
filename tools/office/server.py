"""Runs the office: `gatepost office run --config FILE`. The only file that knows every part."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

import uvicorn

from edge_agent import logs
from edge_agent.clock import Clock
from edge_agent.errors import ConfigError
from tools.office import config as configuration
from tools.office.config import Config
from tools.office.errors import OfficeError, StoreError
from tools.office.service import Office
from tools.office.store.sqlite import SqliteStore
from tools.office.web.app import build
from tools.office.web.connection import HANDSHAKE_S, MAX_HEAD, Connection, Doors

DONE, FAILED, MISTAKE = 0, 1, 2
KEEP_ALIVE_S = 75
FINISH_S = 10
BACKLOG = 256

_log = logs.Log("office")


class ListenError(OfficeError):
    """The address can't be listened on."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which would end the process by the signal instead of by exit code; and
    with limits to connections, which it has not."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            self.should_exit = True
            return
        doors = Doors()
        self.servers = [
            await asyncio.get_running_loop().create_server(
                lambda: Connection(
                    doors, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
                ),
                sock=one,
                ssl=self.config.ssl,
                ssl_handshake_timeout=HANDSHAKE_S if self.config.ssl else None,
                backlog=BACKLOG,
            )
            for one in sockets or []
        ]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        def stop(*_: object) -> None:
            self.should_exit = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(config_path: Path | str) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError, OfficeError."""
    config = configuration.load(config_path)
    clock = Clock(config.rehearsal)
    logs.configure(config.log_level, clock.now_ms)
    with _listen(*config.listen) as listener:
        store = SqliteStore(config.data_dir)
        asyncio.run(_serve(config, store, clock, listener))
    _log.info("stopped")


async def _serve(config: Config, store: SqliteStore, clock: Clock, listener: socket.socket) -> None:
    app = build(Office(config, store, clock.now_ms))
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=FINISH_S,
            h11_max_incomplete_event_size=MAX_HEAD,
            ssl_certfile=config.tls[0] if config.tls else None,
            ssl_keyfile=str(config.tls[1]) if config.tls else None,
        )
    )
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    _log.info("listening", url=f"http{'s' if config.tls else ''}://{shown}:{port}", sites=len(config.sites))
    with contextlib.suppress(SystemExit):  # uvicorn's way of saying that the application did not start
        await server.serve(sockets=[listener])
    if not server.started:
        raise StoreError("the office could not start; the lines above say why")


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that an address in use is said plainly. Raises ListenError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(f"can't listen on {host}:{port}: {error.strerror or error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 stopped as asked, 1 failed, 2 a file or the address is wrong."""
    parser = argparse.ArgumentParser(prog="gatepost office run", description="The server in the property office.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="office.toml")
    wanted = parser.parse_args(arguments)
    try:
        run(wanted.config)
    except (ConfigError, ListenError) as error:
        sys.stderr.write(f"gatepost office: {error}\n")
        return MISTAKE
    except OfficeError as error:
        sys.stderr.write(f"gatepost office: {error}\n")
        return FAILED
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
