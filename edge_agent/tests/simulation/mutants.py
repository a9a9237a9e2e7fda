"""Layer: the product with one promise broken, to show that the simulation notices; patched in, never shipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from edge_agent import runs
from edge_agent.coverage import Coverage
from edge_agent.discipline import Discipline
from edge_agent.errors import OfficeUnreachableError
from edge_agent.ingest import Ingest
from edge_agent.planning import Plan
from edge_agent.store import devices, wal
from edge_agent.store.database import settle
from edge_agent.sync.backoff import Backoff
from edge_agent.sync.client import Client, Sent
from edge_agent.sync.wire import Receipt
from edge_agent.tests.simulation import outside
from edge_agent.tests.simulation.device import Node, Uplink
from gatelink import messages
from tools.office.store.sqlite import SqliteStore


class Mutant(NamedTuple):
    """name; where, attribute, what stands there instead."""

    name: str
    where: Any
    attribute: str
    instead: Any


def _ack_first(original: Callable[..., Any]) -> Callable[..., Any]:
    def apply(self: Ingest, plan: Plan) -> None:
        self.on_commit(plan)
        original(self, plan)

    return apply


def _no_receipt_needed(original: Callable[..., Any]) -> Callable[..., Any]:
    async def send(self: Client, lane: str, rows: Any, devices: Any) -> Any:
        try:
            return await original(self, lane, rows, devices)
        except OfficeUnreachableError:
            return Sent(Receipt(rows[-1].pos, {}), 0, 0.1)

    return send


def _all_missing(self: Coverage, first: int, last: int) -> list[tuple[int, int]]:
    return [(first, last)]


def _gaps_skipped(self: Coverage, first: int, last: int) -> bool:
    self.upto, self.islands = max(self.upto, last), []
    return True


def _window_forgotten(original: Callable[..., Any]) -> Callable[..., Any]:
    def load(connection: Any) -> Any:
        ledgers = original(connection)
        for ledger in ledgers.values():
            ledger.piv_high, ledger.piv_mask = -1, 0
        return ledgers

    return load


def _not_synced(connection: Any, steps: Any) -> int:
    found = settle(connection, steps)
    connection.pragma("synchronous", "normal")
    return found


def _gives_up(self: Backoff) -> float:
    return 1e7


def _receipt_first(original: Callable[..., Any]) -> Callable[..., Any]:
    def take(self: SqliteStore, batch: Any, *more: Any) -> Any:
        taken = original(self, batch, *more)
        if batch.runs and batch.runs[-1].events:
            last = batch.runs[-1]
            self._write.execute(
                "DELETE FROM event WHERE device = ? AND seq = ?", (last.device, last.last_seq)
            )
        return taken

    return take


def _acts(self: Any, command: Any, now_ms: int) -> None:
    code, detail = self._on_command(command.action, command.argument)
    self._answer(messages.Result(command.cmd_id, code, detail))


def _trims_all(original: Callable[..., Any]) -> Callable[..., Any]:
    def notices(self: Any) -> None:
        original(self)
        self.journal.trim(self.journal.next_seq - 1)

    return notices


MUTANTS = (
    Mutant("acknowledged before the commit", Ingest, "_apply", _ack_first(Ingest._apply)),
    Mutant("commits not synced", outside, "settle", _not_synced),
    Mutant("the log of an unsure disk is believed", wal, "write_again", lambda _: 0),
    Mutant("cursor moves without a receipt", Client, "send", _no_receipt_needed(Client.send)),
    Mutant("what is held is stored again", Coverage, "missing", _all_missing),
    Mutant("watermark over gaps", Coverage, "add", _gaps_skipped),
    Mutant("replay window not restored", devices, "load", _window_forgotten(devices.load)),
    Mutant("alarms wait in line", runs, "CLASSES", (1,) * 256),
    Mutant("uploads are not tried again", Backoff, "delay", _gives_up),
    Mutant("a clock that was set is as good as before", Discipline, "doubt_ms", 0),
    Mutant("office receipts what it has not", SqliteStore, "take", _receipt_first(SqliteStore.take)),
    Mutant("a command acts whenever it comes", Uplink, "_on_action", _acts),
    Mutant("device trims what nobody acknowledged", Node, "_notices", _trims_all(Node._notices)),
)


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """The product with this promise broken."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(mutant.where, mutant.attribute, mutant.instead))
        yield
