"""Layer: the command line `gatepost`; each sub-command hands over to the part that does the work."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from tools import edge_store
from tools.doctor import arguments as doctor
from tools.errors import ToolError
from tools.verify import arguments

DONE, FAILED, MISTAKE = 0, 1, 2
STATUS_URL = "http://127.0.0.1:8787/status"
PLAN = Path(__file__).parent / "simulate" / "estate.toml"

Handler = Callable[[argparse.Namespace], int]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gatepost", description="Patrol tags, barriers, the edge agent and the office server."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    edge = commands.add_parser("edge", help="the agent beside the devices")
    edge_commands = edge.add_subparsers(metavar="COMMAND", required=True)
    edge_run = edge_commands.add_parser("run", help="run the edge agent until it is told to stop")
    edge_run.add_argument("--config", type=Path, required=True, metavar="FILE", help="edge.toml")
    edge_run.set_defaults(handler=_edge_run)
    edge_enrol = edge_commands.add_parser("enrol", help="make this edge known to its office by a one-time code")
    edge_enrol.add_argument("--config", type=Path, required=True, metavar="FILE", help="edge.toml")
    edge_enrol.add_argument(
        "--code", required=True, help="the line that gatepost office enrol printed, in single quotes"
    )
    edge_enrol.set_defaults(handler=_edge_enrol)
    for name, text, does in (
        ("rotate", "give a device a new link key; it goes on by itself while the device is away", "rotate"),
        ("revoke", "drop a device's link key: it is refused until it is provisioned anew", "revoke"),
    ):
        keys = edge_commands.add_parser(name, help=text)
        keys.add_argument("--device", type=int, required=True, help="the device's number")
        _asks(keys, "the agent's control token", required=True)
        keys.set_defaults(handler=_edge_keys, does=does)

    update = edge_commands.add_parser("update", help="give a device another firmware version")
    update.add_argument("--device", type=int, required=True, help="the device's number")
    wanted = update.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--release", type=Path, metavar="FOLDER", help="what tools.release has built")
    wanted.add_argument("--withdraw", action="store_true", help="send no more of the one that is under way")
    _asks(update, "the agent's control token", required=True)
    update.set_defaults(handler=_edge_update)

    edge_store.add(edge_commands)

    doctor.add(commands)

    office = commands.add_parser("office", help="the server in the property office")
    office_commands = office.add_subparsers(metavar="COMMAND", required=True)
    office_run = office_commands.add_parser("run", help="run the office server until it is told to stop")
    office_run.add_argument("--config", type=Path, required=True, metavar="FILE", help="office.toml")
    office_run.set_defaults(handler=_office_run)
    _office_parsers(office_commands)

    status = commands.add_parser("status", help="what the edge agent sees: devices, backlog, refused frames")
    _asks(status, "the agent's viewer token, if it has one", required=False)
    status.add_argument("--lang", choices=("zh", "en"), help="default: by LANG")
    status.add_argument("--json", action="store_true", help="as the agent says it")
    status.set_defaults(handler=_status)

    for name, text in (("simulate", "play one night of an estate"), ("night", "the same as simulate")):
        night = commands.add_parser(name, help=text)
        night.add_argument("--plan", type=Path, default=PLAN, metavar="FILE", help="the estate (TOML)")
        night.add_argument(
            "--folder", type=Path, default=Path("build/night"), help="where the run keeps its files"
        )
        night.add_argument("--seed", type=int, default=None, help="which night; a random one if left out")
        night.add_argument("--speed", type=float, default=None, help="how many times as fast as real time")
        night.add_argument("--once", action="store_true", help="end after the table instead of staying open")
        night.set_defaults(handler=_simulate)

    provision = commands.add_parser("provision", help="make a device's keys and put them where they belong")
    provision.add_argument("--site", required=True, help="the site's id, as edge and office know it")
    provision.add_argument(
        "--device", type=int, required=True, help="the device's number, 2 to 4,294,967,295"
    )
    provision.add_argument("--role", required=True, choices=("tag", "barrier"))
    provision.add_argument("--name", default="", help="what people call it")
    provision.add_argument(
        "--edge", type=Path, default=Path("devices.toml"), help="the edge's file of link keys"
    )
    provision.add_argument(
        "--office", type=Path, default=Path("event-keys.toml"), help="the office's file of event keys"
    )
    provision.add_argument(
        "--board", type=Path, metavar="FOLDER", help="also write a virtual board's flash there"
    )
    provision.add_argument(
        "--port", metavar="PORT", help="write a device's keys over its USB console, e.g. /dev/ttyUSB0"
    )
    provision.add_argument("--device-config", type=Path, metavar="FILE", help="config.json for the device")
    provision.add_argument(
        "--rekey", action="store_true", help="replace keys that are already there (next epoch)"
    )
    provision.set_defaults(handler=_provision)

    verify = commands.add_parser("verify", help="check what office and edge hold against what was signed")
    arguments.add(verify)
    verify.set_defaults(handler=_verify)

    flash = commands.add_parser("flash", help="put MicroPython and a role's program onto a device")
    flash.add_argument("--port", required=True, help="its USB console, e.g. /dev/ttyUSB0")
    flash.add_argument("--role", required=True, choices=("tag", "barrier"))
    flash.add_argument("--board", default="esp32_devkit", help="file of pins (default esp32_devkit)")
    flash.add_argument("--image", type=Path, metavar="FILE", help="MicroPython's .bin for this chip, for esptool")
    flash.add_argument(
        "--table", choices=("4mb", "8mb"), default="8mb", help="partitions that go with --image (default 8mb)"
    )
    flash.add_argument(
        "--erase", action="store_true", help="with --image: erase all first, journal and keys with it"
    )
    flash.set_defaults(handler=_flash)
    return parser


def _asks(parser: argparse.ArgumentParser, token: str, *, required: bool) -> None:
    """Arguments of what asks a running agent."""
    parser.add_argument("--token-file", type=Path, required=required, metavar="FILE", help=token)
    parser.add_argument(
        "--url", default=STATUS_URL, help=f"the agent's status address (default {STATUS_URL})"
    )
    parser.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="https: the certificate (PEM) to trust, as its tls_cert"
    )


def _office_parsers(commands: Any) -> None:
    """What is done on the office's machine beside the server."""

    def add(name: str, text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(name, help=text)
        parser.add_argument("--config", type=Path, default=Path("office.toml"), metavar="FILE", help="office.toml")
        parser.set_defaults(handler=_office_command, does=name)
        return parser

    add("init", "make the office's certificate")
    renew = add("renew", "make the next certificate; edges hear of it before it counts")
    renew.add_argument("--switch", action="store_true", help="put the next one in the present one's place")
    renew.add_argument("--anyway", action="store_true", help="even if some edges have not heard of it")
    add("edges", "list the edges")
    enrol = add("enrol", "print a one-time code that lets an edge in")
    for parser in (enrol, add("revoke", "take nothing more of an edge")):
        parser.add_argument("--site", required=True, help="the site's id")
        parser.add_argument("--edge", required=True, help="the edge's id, as in its edge.toml")
    enrol.add_argument("--valid-minutes", type=int, default=60, help="how long the code is good (default 60)")
    enrol.add_argument("--url", help="how the edge reaches the office; default: the address where it listens")
    enrol.add_argument("--certificate", type=Path, metavar="FILE", help="of a proxy that serves https in front")


def _office_command(wanted: argparse.Namespace) -> int:
    from tools.office import commands

    calls: dict[str, Callable[[], str]] = {
        "init": lambda: commands.init(wanted.config),
        "renew": lambda: commands.renew(wanted.config, switch=wanted.switch, anyway=wanted.anyway),
        "edges": lambda: commands.edges(wanted.config),
        "revoke": lambda: commands.revoke(wanted.config, wanted.site, wanted.edge),
        "enrol": lambda: commands.enrol(
            wanted.config, wanted.site, wanted.edge, wanted.valid_minutes, wanted.url, wanted.certificate
        ),
    }
    print(calls[wanted.does]())
    return DONE


def _edge_enrol(wanted: argparse.Namespace) -> int:
    import asyncio

    from edge_agent import config, enrolment
    from edge_agent.errors import EdgeError

    try:
        here = config.load(wanted.config)
        if here.office is not None and here.office.token:
            raise ToolError(f"{wanted.config}: take url and token out of [office]: an enrolled edge needs neither")
        known = asyncio.run(enrolment.enrol_here(here.data_dir, here.site, here.edge, wanted.code))
    except EdgeError as error:
        raise ToolError(str(error)) from error
    goes_on = (
        "a running agent goes on within a minute"
        if here.office is not None
        else f"write an empty [office] table into {wanted.config}, then restart the agent"
    )
    print(f"{known.site}/{known.edge} is enrolled at {known.url}; {goes_on}")
    return DONE


def _edge_run(wanted: argparse.Namespace) -> int:
    import asyncio

    from edge_agent import daemon
    from edge_agent.errors import ConfigError, EdgeError

    try:
        asyncio.run(daemon.run(wanted.config))
    except ConfigError as error:
        raise ToolError(str(error)) from error
    except EdgeError as error:
        # A full disk, an address that is not there yet: systemd tries again, but not after a mistake in a file.
        print(f"gatepost: {error}", file=sys.stderr)
        return FAILED
    return DONE


def _edge_keys(wanted: argparse.Namespace) -> int:
    from tools import edge_ask

    agent = edge_ask.Agent(wanted.url, wanted.token_file, wanted.ca_file)
    print(edge_ask.ask(agent, wanted.device, wanted.does))
    return DONE


def _edge_update(wanted: argparse.Namespace) -> int:
    from tools import edge_ask, edge_update

    agent = edge_ask.Agent(wanted.url, wanted.token_file, wanted.ca_file)
    print(edge_update.ask(agent, wanted.device, wanted.release))
    return DONE


def _office_run(wanted: argparse.Namespace) -> int:
    from tools.office.server import main as serve

    return serve(["--config", str(wanted.config)])


def _status(wanted: argparse.Namespace) -> int:
    from edge_agent.service.heartbeat import language
    from tools import edge_ask
    from tools.status_text import describe

    agent = edge_ask.Agent(wanted.url, wanted.token_file, wanted.ca_file)
    found = edge_ask.send(agent, "/status", None, method="GET")
    if wanted.json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print(describe(found, wanted.lang or language()))
    return DONE


def _simulate(wanted: argparse.Namespace) -> int:
    from tools import device_code

    device_code.with_virtual_board()
    from tools.simulate import night

    return night.main(wanted.plan, wanted.folder, seed=wanted.seed, speed=wanted.speed, once=wanted.once)


def _provision(wanted: argparse.Namespace) -> int:
    from tools import provision

    if not 2 <= wanted.device <= 0xFFFFFFFF:
        raise ToolError(f"--device {wanted.device}: right is a number from 2 to 4,294,967,295")
    epoch = provision.next_epoch(wanted.edge, wanted.device)
    keys = provision.new_keys(
        wanted.device, wanted.role, wanted.name or f"{wanted.role} {wanted.device}", epoch
    )
    provision.provision(
        keys,
        site=wanted.site,
        edge=wanted.edge,
        office=wanted.office,
        board=wanted.board,
        port=wanted.port,
        config=wanted.device_config,
        rekey=wanted.rekey,
    )
    print(f"device {keys.device} ({keys.role}), epoch {keys.epoch}: fingerprint {keys.fingerprint}")
    return DONE


def _verify(wanted: argparse.Namespace) -> int:
    from tools.verify import command

    return command.run(wanted)


def _flash(wanted: argparse.Namespace) -> int:
    from tools.device import program

    done = program.flash(
        wanted.port,
        wanted.board,
        wanted.role,
        micropython=wanted.image,
        table=wanted.table,
        erase=wanted.erase,
        tell=print,
    )
    print(
        f"{wanted.role} on {wanted.board}: {done.written} files written ({done.bytes:,} bytes), {done.kept} were "
        f"there, {done.removed} removed; the program starts"
    )
    return DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command: 0 done, 1 failed, 2 a mistake, told in one line."""
    wanted = _parser().parse_args(arguments)
    handler = cast(Handler, wanted.handler)
    try:
        code = handler(wanted)
        sys.stdout.flush()
    except ToolError as error:
        print(f"gatepost: {error}", file=sys.stderr)
        return MISTAKE
    except BrokenPipeError:  # who reads has seen enough; else Python flushes once more at its end, and complains
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    raise SystemExit(main())
