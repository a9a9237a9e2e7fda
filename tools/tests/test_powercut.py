"""Power cuts under any program: what a traced program's folder holds after one, by real programs under strace."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.tests.faults.tracer import needs_strace
from tools.bench.compare.script import Event
from tools.bench.powercut import Lived, attach, images, moments, trace
from tools.bench.powercut.disk import COMMIT_S, NONE, SOME, WRITEBACK_S, Disk
from tools.bench.powercut.replay import Replay, births
from tools.bench.powercut.trace import TraceError

SEED = int(os.environ.get("GATEPOST_SEED", "1"))
HEAD = """
import fcntl, mmap, os, random, sqlite3, subprocess, sys, threading, time
def now(): print(repr(time.time()), flush=True)
def make(name, flags=0): return os.open(name, os.O_RDWR | os.O_CREAT | flags, 0o600)
"""


class Ran:
    """A program that ran in a folder under strace, and the moments that it named by now()."""

    def __init__(self, place: Path, program: str, before: dict[str, bytes] | None = None) -> None:
        needs_strace()
        self.folder = (place / "disk").resolve()
        self.folder.mkdir(parents=True)
        for name, data in (before or {}).items():
            (self.folder / name).write_bytes(data)
        self._before = before or {}
        self.out = place / "trace"
        done = subprocess.run(
            [*trace.command(self.out), sys.executable, "-S", "-c", HEAD + program],
            cwd=self.folder, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        attach.finished(self.out, 30)
        self.moments = [float(line) for line in done.stdout.split()]

    def replay(self) -> Replay:
        lines = self.out.read_bytes().splitlines(keepends=True)
        disk = Disk(dict(self._before), [])
        return Replay(
            disk, str(self.folder), str(self.folder), trace.calls(lines), births(trace.calls(lines))
        )

    def cut(self, moment: int, style: int = NONE, seed: int = SEED, later_s: float = 0) -> dict[str, bytes]:
        """The files that are left when the power goes at that moment of the program, or later."""
        replay = self.replay()
        replay.to(self.moments[moment])
        replay.disk.pass_to(self.moments[moment] + later_s)
        return replay.disk.left(style, random.Random(seed))[1]

    def seen(self) -> list[str]:
        """Where the model is wrong about what the program left behind."""
        replay = self.replay()
        replay.to_end()
        return replay.disk.differs(self.folder)


def styles(ran: Ran, moment: int) -> set[tuple[tuple[str, bytes], ...]]:
    """All that 200 cuts by chance leave."""
    replay = ran.replay()
    replay.to(ran.moments[moment])
    left = (replay.disk.left(SOME, random.Random(seed))[1] for seed in range(200))
    return {tuple(sorted(each.items())) for each in left}


def test_what_was_not_synced_vanishes(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path, "fd = make('a'); os.write(fd, b'one'); now(); os.fsync(fd); os.write(fd, b'two'); now()"
    )
    assert ran.cut(0) == {}
    assert ran.cut(1) == {"a": b"one"}
    assert ran.cut(0, later_s=COMMIT_S) == {"a": b""}
    assert ran.cut(1, later_s=WRITEBACK_S) == {"a": b"onetwo"}
    assert styles(ran, 0) == {(), (("a", b""),), (("a", b"one"),)}
    assert styles(ran, 1) == {(("a", b"one"),), (("a", b"onetwo"),)}
    assert ran.seen() == []


@pytest.mark.parametrize("flag", ["O_SYNC", "O_DSYNC"])
def test_synced_writes_stay(tmp_path: Path, flag: str) -> None:
    ran = Ran(
        tmp_path,
        f"fd = make('a', os.{flag} | os.O_APPEND); os.write(fd, b'one'); now(); os.write(make('a'), b'ONE'); now()",
    )
    assert ran.cut(0) == ran.cut(1) == {"a": b"one"}
    assert ran.seen() == []


def test_pages_survive_one_by_one(tmp_path: Path) -> None:
    old, page = b"o" * 12_288, b"n" * 4096
    ran = Ran(tmp_path, "fd = make('a'); os.pwrite(fd, b'n' * 20_480, 0); now()", {"a": old})
    found = styles(ran, 0)
    contents = {left[0][1] for left in found}
    overwritten = {content[:12_288] for content in contents}
    assert overwritten == {b"".join(pages) for pages in itertools.product((page, old[:4096]), repeat=3)}
    assert {content[12_288:] for content in contents} == {b"", page, page * 2}
    assert ran.cut(0) == {"a": old}


def test_a_rename_needs_a_sync(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        "fd = make('new'); os.write(fd, b'new'); os.fsync(fd); os.rename('new', 'a'); now();"
        "os.fsync(os.open('.', os.O_RDONLY)); now()",
        {"a": b"old"},
    )
    assert ran.cut(0) == {"a": b"old", "new": b"new"}
    assert ran.cut(1) == ran.cut(0, later_s=COMMIT_S) == {"a": b"new"}
    assert styles(ran, 0) == {(("a", b"new"),), (("a", b"old"), ("new", b"new"))}
    assert ran.seen() == []


def test_a_rename_over_a_file_never_leaves_an_empty_one(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path, "fd = make('new'); os.write(fd, b'new'); now(); os.rename('new', 'a'); now()", {"a": b"old"}
    )
    assert ran.cut(0, later_s=COMMIT_S) == {"a": b"old", "new": b""}
    assert ran.cut(1, later_s=COMMIT_S) == {"a": b"new"}
    assert styles(ran, 1) == {(("a", b"old"),), (("a", b"old"), ("new", b"new")), (("a", b"new"),)}


def test_any_sync_takes_the_names_before_it(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        "os.mkdir('d'); os.mkdir('d/e'); a = make('d/e/a'); os.link('d/e/a', 'b'); os.rename('d', 'f');"
        "os.unlink('old'); now(); os.fdatasync(make('other')); now()",
        {"old": b"x"},
    )
    assert ran.cut(0) == {"old": b"x"}
    assert ran.cut(1) == {"f/e/a": b"", "b": b"", "other": b""}
    assert ran.seen() == []


def test_a_file_made_shorter(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        "fd = make('a'); os.ftruncate(fd, 2); now(); os.pwrite(fd, b'new', 4_096); now(); os.fsync(fd); now();"
        "os.truncate('a', 0); os.posix_fallocate(fd, 0, 5); now(); os.fsync(fd); now()",
        {"a": b"old" * 3_000},
    )
    assert ran.cut(0) == ran.cut(1) == {"a": b"old" * 3_000}
    assert ran.cut(0, later_s=COMMIT_S) == {"a": b"ol"}
    assert ran.cut(2) == ran.cut(3) == {"a": b"ol" + bytes(4_094) + b"new"}
    assert ran.cut(4) == {"a": bytes(5)}
    assert ran.seen() == []


def test_a_file_emptied_and_written_anew_is_on_the_disk_when_it_is_closed(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        "fd = make('a', os.O_TRUNC); os.write(fd, b'new'); now(); os.close(fd); now()",
        {"a": b"old, longer"},
    )
    assert ran.cut(0) == {"a": b"old, longer"}
    assert ran.cut(0, later_s=COMMIT_S) == {"a": b""}
    assert styles(ran, 0) == {(("a", left),) for left in (b"old, longer", b"", b"new")}
    assert ran.cut(1) == {"a": b"new"}


def test_descriptors_share_their_offset(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        "fd = make('a'); other = os.dup(fd); os.write(fd, b'1'); os.write(other, b'2');"
        "third = fcntl.fcntl(fd, fcntl.F_DUPFD, 90); os.dup2(third, 95)\n"
        "if os.fork() == 0: os.write(95, b'3'); os._exit(0)\n"
        "os.wait(); os.writev(third, [b'4', b'5']); own = make('a'); os.lseek(own, 1, 0); os.read(own, 1)\n"
        "os.write(own, b'!'); log = make('b', os.O_APPEND); os.dup2(log, 1)\n"
        "subprocess.run([sys.executable, '-S', '-c', 'print(42, flush=True)'])\n"
        "turn = threading.Lock()\n"
        "def say(n):\n"
        "    for _ in range(50):\n"
        "        with turn: os.write(log, b'%d;' % n)\n"
        "threads = [threading.Thread(target=say, args=(n,)) for n in range(4)]\n"
        "[each.start() for each in threads]; [each.join() for each in threads]",
    )
    assert (ran.folder / "a").read_bytes() == b"12!45"
    assert len((ran.folder / "b").read_bytes()) == 403
    assert ran.seen() == []


def test_any_program_of_file_calls_is_followed(tmp_path: Path) -> None:
    program = f"""
rng = random.Random({SEED})
fds = []
for step in range(3_000):
    name = rng.choice('abcdef')
    do = rng.randrange(12)
    if do == 0 or not fds: fds.append(make(name, rng.choice((0, os.O_APPEND, os.O_TRUNC))))
    elif do == 1 and len(fds) > 3: os.close(fds.pop(rng.randrange(len(fds))))
    elif do == 2: fds.append(os.dup(rng.choice(fds)))
    elif do == 3 and os.path.exists(name): os.rename(name, rng.choice('abcdef'))
    elif do == 4 and os.path.exists(name): os.unlink(name)
    elif do == 5: os.ftruncate(rng.choice(fds), rng.randrange(20_000))
    elif do == 6: os.lseek(rng.choice(fds), rng.randrange(9_000), 0)
    elif do == 7: os.read(rng.choice(fds), rng.randrange(5_000))
    elif do == 8: os.fsync(rng.choice(fds))
    elif do == 9: os.pwrite(rng.choice(fds), rng.randbytes(rng.randrange(9_000)), rng.randrange(9_000))
    else: os.write(rng.choice(fds), rng.randbytes(rng.randrange(3_000)))
os.sync(); now()
"""
    ran = Ran(tmp_path, program)
    assert ran.seen() == []
    files = {path.name: path.read_bytes() for path in ran.folder.iterdir()}
    assert ran.cut(-1) == files, f"seed {SEED}"


@pytest.mark.parametrize(
    ("program", "what"),
    [
        ("fd = make('a'); os.ftruncate(fd, 9); mmap.mmap(fd, 9)", "shared memory"),
        ("fd = make('a'); os.write(fd, b'x'); os.sendfile(make('b'), fd, 0, 1)", "sendfile"),
        ("os.symlink('a', 'b')", "symlink"),
        ("make('a'); os.rename('a', '../away')", "across"),
    ],
)
def test_what_can_not_be_followed_is_refused(tmp_path: Path, program: str, what: str) -> None:
    ran = Ran(tmp_path, program)
    with pytest.raises(TraceError, match=what):
        ran.seen()


def test_a_write_behind_the_models_back_is_found(tmp_path: Path) -> None:
    ran = Ran(tmp_path, "os.write(make('a'), b'1')")
    (ran.folder / "a").write_bytes(b"2")
    (ran.folder / "b").touch()
    assert ran.seen() == ["a", "b"]


def test_folders_of_cuts_are_made_and_what_was_missed_is_named(tmp_path: Path) -> None:
    ran = Ran(tmp_path, "fd = make('a')\nfor n in range(9): os.write(fd, b'%d' % n); os.fsync(fd); now()")
    lived = Lived(
        tmp_path, "disk", {Event(1, n): at_s for n, at_s in enumerate(ran.moments, 1)}, ran.moments[2] - 35
    )
    cuts = moments(lived, random.Random(SEED))
    assert cuts == ran.moments[2:]
    (ran.folder / "b").touch()
    assert images(lived, cuts, SEED) == ["b"]
    for number in range(len(cuts)):
        assert (tmp_path / f"cut-{number}" / "disk" / "a").read_bytes().startswith(b"012345678"[: number + 3])
    assert not ran.out.exists()


COMMITS = """
db = sqlite3.connect('db', isolation_level=None)
db.execute('PRAGMA journal_mode = {journal}'); db.execute('PRAGMA synchronous = {synchronous}')
db.execute('CREATE TABLE t (n INTEGER)')
for n in range(60): db.execute('INSERT INTO t VALUES (?)', (n,)); now()
"""


def lost(ran: Ran, place: Path) -> int:
    """Commits that are gone over cuts behind each of them; all, where the database can't be read."""
    gone = 0
    replay, rng = ran.replay(), random.Random(SEED)
    for count, moment in enumerate(ran.moments, 1):
        replay.to(moment)
        replay.disk.image(place, rng.choice((NONE, SOME)), rng)
        try:
            reader = sqlite3.connect(place / "db")
            found = {n for (n,) in reader.execute("SELECT n FROM t")}
        except sqlite3.DatabaseError:
            found = set()
        finally:
            reader.close()
        gone += len(set(range(count)) - found)
        shutil.rmtree(place)
    return gone


# With a rollback journal, the commit is the journal's deletion: FULL does not sync the folder behind it, EXTRA does.
@pytest.mark.parametrize(("journal", "full"), [("WAL", "FULL"), ("DELETE", "EXTRA")])
def test_sqlite_keeps_its_commits_and_loses_them_without_syncs(
    tmp_path: Path, journal: str, full: str
) -> None:
    found = {}
    for synchronous in (full, "OFF"):
        ran = Ran(tmp_path / synchronous, COMMITS.format(journal=journal, synchronous=synchronous))
        assert ran.seen() == []
        found[synchronous] = lost(ran, tmp_path / "left")
    print(f"power cut: SQLite, {journal}: commits lost at 60 cuts {found} (seed {SEED})")
    assert found[full] == 0
    assert found["OFF"] > 100
