"""A machine to throw away: this one's root with an overlay on it, started by the real systemd in a container.

What is written there is in memory and gone at the end; the network is this machine's, so tests reach it over loopback.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BOOT_S = 60.0
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"  # whose binaries this environment has
TRY = """
set -eu
mount -t tmpfs tmpfs "$PWD"
cd "$PWD"
mkdir u w m
mount -t overlay overlay -o lowerdir=/,upperdir=u,workdir=w m
"""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
SCRIPT = """
set -eu
for hierarchy in systemd unified .; do
    if [ -e /sys/fs/cgroup/$hierarchy/cgroup.procs ]; then
        mkdir -p /sys/fs/cgroup/$hierarchy/$NAME
        echo $$ > /sys/fs/cgroup/$hierarchy/$NAME/cgroup.procs
    fi
done
mount -t tmpfs tmpfs "$WORK"
mkdir "$WORK/upper" "$WORK/work" "$WORK/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
# With cgroup v2 and bpf its systemd can guard devices, too.
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec systemd-nspawn --quiet --capability=all --system-call-filter=bpf \
    --register=no --keep-unit --link-journal=no --machine="$NAME" --directory="$WORK/root" \
    --boot systemd.unit=basic.target systemd.log_level=warning
"""


def why_not() -> str:
    """Why there can't be one here, "" if there can."""
    if os.geteuid() != 0:
        return "not root"
    for program in ("systemd-nspawn", "dpkg", "nsenter", "unshare"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not Path(f"/usr/bin/python{PYTHON}").exists():
        return f"Debian's python{PYTHON} is not installed"
    with tempfile.TemporaryDirectory() as name:
        tried = subprocess.run(
            ["unshare", "--mount", "sh", "-c", TRY], capture_output=True, text=True, check=False, cwd=name
        )  # fmt: skip
    return f"no overlay can be mounted: {tried.stderr.strip()}" if tried.returncode else ""


class Machine:
    """Booted by entering, ended by leaving."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = f"gatepost-{os.getpid()}"
        self._process: subprocess.Popen[bytes]
        self.leader = 0

    def __enter__(self) -> Machine:
        work = self._folder / "machine"
        work.mkdir()
        self._log = (self._folder / "machine.log").open("wb")
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT],
            env={**os.environ, "NAME": self.name, "WORK": str(work)},
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        with contextlib.ExitStack() as undo:
            undo.callback(self.__exit__)
            self.until(self._booted, BOOT_S, "the machine does not boot")
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        if self.leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)  # its init: the kernel ends all the rest
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        self._process.kill()
        self._process.wait()
        self._log.close()
        for hierarchy in ("systemd", "unified", "."):
            top = Path(f"/sys/fs/cgroup/{hierarchy}/{self.name}")
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()

    def _booted(self) -> bool:
        assert self._process.poll() is None, (self._folder / "machine.log").read_text(errors="replace")
        self.leader = self.leader or _init_below(self._process.pid)
        return (
            bool(self.leader) and self.run("systemctl", "is-active", "basic.target", check=False) == "active"
        )

    @property
    def root(self) -> Path:
        """Its file system, seen from here."""
        return Path(f"/proc/{self.leader}/root")

    def run(self, *command: str, check: bool = True, deadline_s: float = 180) -> str:
        """Runs a command in it as root -> what it printed, both streams."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.leader), "--all", "--wdns=/", *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=deadline_s, check=False, env=ENVIRONMENT,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
        return done.stdout.strip()

    def until(self, condition: Callable[[], object], deadline_s: float = 30, what: str = "") -> None:
        """Waits for a condition; fails at the deadline."""
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, what or "the condition did not come true in time"
            time.sleep(0.05)  # asks again; nothing is right only because of it

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit)

    def copy(self, source: Path, to: str) -> str:
        """A file into it."""
        shutil.copyfile(source, self.root / to.lstrip("/"))
        return to

    def write(self, path: str, text: str, *, owner: str = "gatepost", mode: str = "600") -> None:
        """A file in it."""
        (self.root / path.lstrip("/")).write_text(text)
        self.run("chown", f"{owner}:{owner}", path)
        self.run("chmod", mode, path)


def _init_below(pid: int) -> int:
    """The process below pid that is the first one of a process namespace of its own; 0 if there is none yet."""
    waiting = [pid]
    while waiting:
        at = waiting.pop()
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{at}/status").read_text().splitlines():
                if line.startswith("NSpid:") and len(line.split()) > 2 and line.split()[-1] == "1":
                    return at
            waiting += map(int, Path(f"/proc/{at}/task/{at}/children").read_text().split())
    return 0
