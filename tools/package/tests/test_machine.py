"""The package on a machine that the real systemd has started: at work in its cage, hung, upgraded, rolled back."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.store.database import schema_steps
from edge_agent.tests.device import sync
from edge_agent.tests.harness import until
from tools.package import build
from tools.package.tests.estate import DATA, Estate, connected
from tools.package.tests.machine import PYTHON, Machine, why_not
from tools.simulate.processes import free_port

UNIT = "gatepost-edge"
STATE = "/var/lib/gatepost"
FIRST, SECOND, BROKEN = "0.1.0", "0.1.1", "0.1.2"
SCHEMA = len(schema_steps())
WHY_NOT = why_not()

pytestmark = [
    pytest.mark.skipif(bool(WHY_NOT), reason=f"PACKAGE NOT TRIED ON A MACHINE: {WHY_NOT}"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package of this tree; a later one with a further schema; one that can't even be imported."""
    folder = tmp_path_factory.mktemp("packages")
    first = build.build(_arch(), PYTHON, folder, version=FIRST, installed=True, quick=True)

    def further_schema(lib: Path) -> None:
        store = lib / "edge_agent" / "store"
        (store / f"schema_v{SCHEMA + 1}.sql").write_text("CREATE TABLE later (a INTEGER) STRICT;\n")

    def broken(lib: Path) -> None:
        further_schema(lib)
        (lib / "tools" / "__init__.py").write_text('raise RuntimeError("broken")\n')

    return {
        FIRST: first,
        SECOND: derived(first, folder, SECOND, SCHEMA + 1, further_schema),
        BROKEN: derived(first, folder, BROKEN, SCHEMA + 1, broken),
    }


def derived(first: Path, folder: Path, version: str, schema: int, change: Callable[[Path], None]) -> Path:
    """Another version of a package."""
    tree = folder / version
    subprocess.run(["dpkg-deb", "-R", str(first), str(tree)], check=True)
    release = tree / "usr/lib/gatepost" / version
    (tree / "usr/lib/gatepost" / FIRST).rename(release)
    change(release / "lib")
    (release / "schema").write_text(f"{schema}\n")
    for name in ("control", "postinst"):
        path = tree / "DEBIAN" / name
        path.write_text(re.sub(rf"(?m)^(Version: |version=){FIRST}$", rf"\g<1>{version}", path.read_text()))
    (tree / "DEBIAN" / "md5sums").unlink()
    target = folder / f"gatepost_{version}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(target)], check=True
    )
    shutil.rmtree(tree)
    return target


def _arch() -> str:
    return subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine")) as booted:
        yield booted


def install(machine: Machine, package: Path) -> tuple[int, str]:
    """dpkg -i -> (exit code, what it printed)."""
    path = machine.copy(package, "/var/tmp/gatepost.deb")
    said = machine.run("sh", "-c", f"dpkg -i {path}; echo ={'$'}?")
    (machine.root / path.lstrip("/")).unlink()
    return int(said.rpartition("=")[2]), said


@pytest.fixture(scope="module")
def whole(machine: Machine) -> Estate:
    return Estate(machine)


def journal(machine: Machine) -> list[dict[str, Any]]:
    """The agent's lines as journald has them: its priority and what the line says."""
    found = []
    said = machine.run(
        "journalctl",
        "-u",
        UNIT,
        "-o",
        "json",
        "--no-pager",
        "_COMM=gatepost",
        "+",
        f"_SYSTEMD_UNIT={UNIT}.service",
    )
    for line in said.splitlines():
        entry = json.loads(line)
        if entry.get("_TRANSPORT") == "stdout":
            found.append({"priority": int(entry["PRIORITY"]), **json.loads(entry["MESSAGE"])})
    return found


def test_installed(machine: Machine, packages: dict[str, Path]) -> None:
    code, said = install(machine, packages[FIRST])
    assert code == 0, said
    assert "next: write /etc/gatepost/edge.toml" in said
    assert link_to(machine, "current") == f"releases/{FIRST}"
    for path, right in (
        ("/etc/gatepost", "750 gatepost"),
        (STATE, "700 gatepost"),
        ("/opt/gatepost", "755 root"),
    ):
        assert machine.run("stat", "-c", "%a %U", path) == right
    assert "20(dialout)" in machine.run("id", "gatepost")
    assert machine.run("systemctl", "is-enabled", UNIT) == "enabled"
    machine.run("systemctl", "start", UNIT)  # no configuration: nothing happens
    assert machine.show(UNIT, "ConditionResult") == "no"
    assert "COMMAND" in machine.run("gatepost", "--help")
    with (machine.root / "etc/gatepost/edge.example.toml").open("rb") as example:
        assert tomllib.load(example)["edge"]["data_dir"] == STATE
    # An office as the README sets it up, before its unit ever ran.
    config = "/etc/gatepost/office.toml"
    as_gatepost = ("runuser", "-u", "gatepost", "--")
    machine.run(*as_gatepost, "cp", "/etc/gatepost/office.example.toml", config)
    machine.run(*as_gatepost, "gatepost", "office", "init", "--config", config)
    machine.run("systemctl", "start", "gatepost-office")
    database = machine.root / "var/lib/gatepost-office/office.db"
    machine.until(database.exists, 60, "the office does not start")
    machine.run("systemctl", "stop", "gatepost-office")
    for path in (*database.parent.iterdir(), machine.root / config.lstrip("/")):
        path.unlink()


async def test_the_agent_works_in_its_cage(machine: Machine, whole: Estate) -> None:
    (machine.root / "run/systemd/timesync").mkdir(parents=True)
    (machine.root / "run/systemd/timesync/synchronized").touch()
    for name, major, minor in (("ttyS9", 4, 73), ("forbidden", 1, 1)):
        machine.run("mknod", "-m", "660", f"/dev/{name}", "c", str(major), str(minor))
        machine.run("chgrp", "dialout", f"/dev/{name}")
    async with connected(whole) as estate:
        machine.run("install", "-d", "-m", "755", "/srv/disk")
        machine.run("install", "-d", "-m", "700", "-o", "gatepost", "-g", "gatepost", DATA)
        machine.run("mkdir", f"/etc/systemd/system/{UNIT}.service.d")
        drop_in = f"/etc/systemd/system/{UNIT}.service.d/disk.conf"
        machine.write(drop_in, f"[Service]\nReadWritePaths={DATA}\n", owner="root", mode="644")
        machine.run("systemctl", "daemon-reload")
        estate.configure()
        await estate.tell("systemctl", "start", UNIT)
        assert machine.show(UNIT, "ActiveState") == "active"
        await estate.collect(50)
        # It knew the time by timesyncd's file, though ProtectClock= refuses to ask the kernel.
        assert all(low > 0 for (device, _, _), (low, _) in estate.office.times.items() if device == 1)
        process = machine.show(UNIT, "MainPID")
        about = dict(
            line.split(":\t", 1)
            for line in machine.run("cat", f"/proc/{process}/status").splitlines()
            if ":\t" in line
        )
        user = machine.run("id", "-u", "gatepost")
        assert about["Uid"].split() == [user] * 4
        assert (about["NoNewPrivs"], about["Seccomp"]) == ("1", "2")
        assert {int(about[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        limits = machine.run("cat", f"/proc/{process}/limits")
        assert re.search(r"Max core file size +0 +0", limits)
        # A serial port may be opened (there is none behind that number), anything else in /dev may not.
        lost = {line["port"]: line["why"] for line in journal(machine) if line["event"] == "port lost"}
        assert lost["uart"] == "No such device or address"
        assert lost["forbidden"] == "Operation not permitted"
        await until(lambda: "devices online" in machine.show(UNIT, "StatusText"), 20)
        assert "Port lost: uart, forbidden; " in machine.show(UNIT, "StatusText")
        # The doctor looks with the eyes of the agent's user.
        told = await estate.tell(
            "sh", "-c", "gatepost doctor --config /etc/gatepost/edge.toml --json || true"
        )
        found = {one["check"]: one for one in json.loads(told)["findings"]}
        for check in ("config", "sqlite", "files", "store", "agent", "port dock", "port uart"):
            assert found[check]["level"] == "ok", found[check]
        assert found["file system"]["key"] == "disk_memory"
        # Nothing but data_dir can be written, and nothing of others be seen.
        inside = ("nsenter", "-t", process, "-m", "-U", "--", "/usr/bin/touch")
        for path in ("/etc/gatepost/x", "/usr/x", "/opt/gatepost/x", "/var/lib/x", "/srv/disk/x"):
            assert "Read-only file system" in machine.run(*inside, path, check=False)
        machine.run(*inside, f"{DATA}/x")
        machine.run("rm", f"{DATA}/x")
        assert machine.run("nsenter", "-t", process, "-m", "-U", "--", "ls", "/root", "/home", check=False)


async def test_a_hang_is_ended_and_told(machine: Machine, whole: Estate) -> None:
    async with connected(whole) as estate:
        await estate.tell("sh", "-c", f"mkdir -p /run/systemd/system/{UNIT}.service.d")
        machine.write(
            f"/run/systemd/system/{UNIT}.service.d/quick.conf", "[Service]\nWatchdogSec=2\nRestartSec=100ms\n"
        )
        await estate.tell("systemctl", "daemon-reload")
        await estate.tell("systemctl", "restart", UNIT)
        await estate.collect(10)
        before = machine.show(UNIT, "MainPID")
        machine.run("kill", "-STOP", before)
        await until(lambda: machine.show(UNIT, "NRestarts") == "1", 60, "systemd did not notice the hang")
        await estate.collect(10)
        assert machine.show(UNIT, "MainPID") != before
        lines = journal(machine)
        assert any("hung or crashed" in line["event"] and line["priority"] == 3 for line in lines)
        assert {line["priority"] for line in lines if line["level"] == "info"} == {6}
        assert {line["priority"] for line in lines if line["level"] == "warning"} <= {4}
        machine.run("rm", f"/run/systemd/system/{UNIT}.service.d/quick.conf")
        await estate.tell("systemctl", "daemon-reload")


async def test_an_upgrade_and_the_way_back_lose_nothing(
    machine: Machine, whole: Estate, packages: dict[str, Path]
) -> None:
    async with connected(whole) as estate:
        code, said = await asyncio.to_thread(install, machine, packages[SECOND])
        assert code == 0, said
        assert f"restarting {UNIT} with version {SECOND}" in said
        assert link_to(machine, "current") == f"releases/{SECOND}"
        assert link_to(machine, "previous") == f"releases/{FIRST}"
        (backup,) = (machine.root / "var/backups/gatepost").iterdir()
        assert backup.name.startswith(f"before-{SECOND}-")
        assert backup.stat().st_mode & 0o77 == 0
        assert version_of(machine) == SCHEMA + 1
        await estate.collect(20)
        # Events that only the newer version's store holds when it goes back.
        await estate.office.stop()
        for device in estate.devices:
            for _ in range(20):
                device.mint()
        await asyncio.gather(
            *(sync(d, w, deadline_s=60) for d, w in zip(estate.devices, estate.wires, strict=True))
        )
        said = await estate.tell("gatepost-rollback")
        assert f"version {FIRST} is in use again" in said
        assert version_of(machine) == SCHEMA
        await estate.office.start()
        await estate.collect(20)
        assert link_to(machine, "current") == f"releases/{FIRST}"
        # And forward again, by the same command.
        await estate.tell("gatepost-rollback", SECOND)
        assert version_of(machine) == SCHEMA + 1
        await estate.collect(20)
        assert "there are: 0.1.0 0.1.1" in machine.run("gatepost-rollback", "9.9", check=False)


async def test_a_version_that_does_not_start_is_taken_back(
    machine: Machine, whole: Estate, packages: dict[str, Path]
) -> None:
    async with connected(whole) as estate:
        code, said = await asyncio.to_thread(install, machine, packages[BROKEN])
        assert code != 0
        assert f"{UNIT} does not start with version {BROKEN}" in said
        assert f"version {SECOND} is in use again" in said
        assert machine.show(UNIT, "ActiveState") == "active"
        await estate.collect(20)
        # By hand, from one that can do nothing, across a schema: another one hands the store over.
        machine.run("ln", "-sfn", f"releases/{BROKEN}", "/opt/gatepost/current")
        said = await estate.tell("gatepost-rollback", FIRST)
        assert f"version {BROKEN} can't hand the store over" in said
        assert f"version {FIRST} is in use again" in said
        assert version_of(machine) == SCHEMA
        await estate.collect(20)
        # The repaired one (here: the older package again) makes the package whole.
        code, said = await asyncio.to_thread(install, machine, packages[SECOND])
        assert code == 0, said
        await estate.collect(5)


async def test_an_office_goes_back_only_where_its_database_is_known(machine: Machine, whole: Estate) -> None:
    """Beside an edge, which goes on meanwhile, and on a machine of its own."""
    database, office = "/var/lib/gatepost-office/office.db", "gatepost-office"
    port = free_port()
    config = f'[office]\nlisten = "127.0.0.1:{port}"\ndata_dir = "/var/lib/gatepost-office"\n[[site]]\nid = "s1"\n'
    machine.write("/etc/gatepost/office.toml", config)
    machine.run("systemctl", "start", office)
    machine.until((machine.root / database.lstrip("/")).exists, 60, "the office does not start")

    def set_version(change: str) -> None:
        code = f"import sqlite3; c = sqlite3.connect('{database}', timeout=10); v = c.execute('PRAGMA user_version')"
        code += f".fetchone()[0]; c.execute(f'PRAGMA user_version = {{v{change}}}'); c.close()"
        machine.run("runuser", "-u", "gatepost", "--", f"/usr/bin/python{PYTHON}", "-c", code)

    def refused() -> str:
        said = machine.run("sh", "-c", f"gatepost-rollback {FIRST} && echo it went back", check=False)
        assert "it went back" not in said
        assert link_to(machine, "current") == f"releases/{SECOND}"
        return said

    async with connected(whole) as estate:
        edge, before = machine.show(UNIT, "MainPID"), machine.show(office, "MainPID")
        set_version(" + 90")
        assert re.search(r"the office's database is of version 9\d, 0\.1\.0 knows up to \d$", refused())
        assert (machine.show(UNIT, "MainPID"), machine.show(office, "MainPID")) == (edge, before)
        await estate.collect(5)
        set_version(" - 90")
        machine.run("systemctl", "stop", UNIT)
        machine.run("mv", "/etc/gatepost/edge.toml", "/etc/gatepost/edge.toml.aside")
        machine.run("gatepost-rollback", FIRST)
        assert link_to(machine, "current") == f"releases/{FIRST}"
        assert machine.show(office, "ActiveState") == "active"
        assert machine.show(office, "MainPID") != before
        machine.run("gatepost-rollback", SECOND)
        machine.run("systemctl", "stop", office)
        machine.run("mv", "/etc/gatepost/edge.toml.aside", "/etc/gatepost/edge.toml")
        await estate.tell("systemctl", "start", UNIT)
        await estate.collect(5)


async def test_no_backup_no_upgrade(machine: Machine, whole: Estate, packages: dict[str, Path]) -> None:
    async with connected(whole) as estate:
        machine.run(
            "mount",
            "-t",
            "tmpfs",
            "-o",
            "size=64k,mode=700,uid=" + machine.run("id", "-u", "gatepost"),
            "tmpfs",
            "/var/backups/gatepost",
        )
        code, said = await asyncio.to_thread(install, machine, packages[BROKEN])
        machine.run("umount", "/var/backups/gatepost")
        assert code != 0
        assert f"so version {SECOND} goes on" in said
        assert link_to(machine, "current") == f"releases/{SECOND}"
        await estate.collect(5)


async def test_removed_and_nothing_of_the_site_is_gone(machine: Machine, whole: Estate) -> None:
    async with connected(whole) as estate:
        await estate.collect(1)
        said = await estate.tell("dpkg", "--purge", "gatepost")
        assert f"kept {STATE}" in said
    assert not (machine.root / "opt/gatepost").exists()
    assert machine.run("systemctl", "is-active", UNIT, check=False) == "inactive"
    for kept in (f"{DATA}/edge.sqlite", "/etc/gatepost/edge.toml", "/etc/gatepost/devices.toml"):
        assert (machine.root / kept.lstrip("/")).exists()


def version_of(machine: Machine) -> int:
    """The version in the store's header, also while it is in use."""
    code = (
        f"import sqlite3; c = sqlite3.connect('file:{DATA}/edge.sqlite?mode=ro', uri=True); "
        "print(c.execute('PRAGMA user_version').fetchone()[0])"
    )
    return int(machine.run(f"/usr/bin/python{PYTHON}", "-c", code))


def link_to(machine: Machine, name: str) -> str:
    return str((machine.root / "opt/gatepost" / name).readlink())
