"""One life of a device on real littlefs: it boots, takes the new version, and ends confirmed or rolled back."""

import random
from dataclasses import dataclass, field

import boot

from firmware.tests.lfs_files import Flash, LfsFiles
from firmware.tests.update_device import SIGNED, VERS, files, make, send, settle, whole
from node import update as up


@dataclass
class Life:
    """What happened, each with the number of flash operations done before it."""

    flash: Flash
    rng: random.Random
    crashes: list[int] = field(default_factory=list)
    installing: list[int] = field(default_factory=list)
    installed: list[int] = field(default_factory=list)
    confirmed: list[int] = field(default_factory=list)
    first_boot: "boot.Record | None" = None
    worst: dict[str, tuple[int, int]] = field(default_factory=dict)

    def now(self) -> int:
        return len(self.flash.ops)

    def shuffled(self, chunks: list) -> list:
        return self.rng.sample(chunks, len(chunks))

    def count(self, what: str, since: int) -> None:
        """Keeps the most erases and programs that one call took."""
        ops = self.flash.ops[since:]
        erases = sum(op.data is None for op in ops)
        old = self.worst.get(what, (0, 0))
        self.worst[what] = (max(old[0], erases), max(old[1], len(ops) - erases))


def counted(life: Life) -> type[up.Update]:
    """Update, every call of it measured in flash operations."""

    class Counted(up.Update):
        def handle(self, *args):
            since = life.now()
            code = super().handle(*args)
            life.count("handle", since)
            return code

        def step(self):
            since = life.now()
            more = super().step()
            life.count("step", since)
            return more

    return Counted


def live(image: bytearray, name: str, *, healthy: bool, seed: int = 0, boots: int = 12) -> Life:
    """Boots until the new version `name` is confirmed or rolled back. AssertionError: a brick, or a wrong turn."""
    life = Life(Flash(image), random.Random(seed))
    signed = SIGNED[name]
    contents = files(VERS[name])
    for _ in range(boots):
        fs = LfsFiles(life.flash)
        since = life.now()
        record = boot.select(fs)
        life.count("select", since)
        life.first_boot = life.first_boot or record
        # The factory's version is not in the file system here; everything else must be whole when it is
        # started.
        found = None if record.slot == boot.FACTORY else whole(fs, record.slot)
        new = found == signed
        if new and not healthy:
            life.crashes.append(life.now())
            continue
        update = make(fs, record.slot, kind=counted(life))
        settle(update)
        if update.on_trial:
            assert new
            update.self_test_passed()
            since = life.now()
            assert update.confirm()
            life.count("confirm", since)
            life.confirmed.append(life.now())
            settle(update)
            return life
        if new:
            life.confirmed.append(life.now())
            return life
        if record.failed:
            assert not send(update, signed, contents)
            assert update.reason == up.ROLLED_BACK
            return life
        assert send(update, signed, contents, life.shuffled), (update.reason, update.fault)
        since = life.now()
        life.installing.append(since)
        assert update.install(), update.reason
        life.count("install", since)
        life.installed.append(life.now())
    raise AssertionError("neither confirmed nor rolled back")
