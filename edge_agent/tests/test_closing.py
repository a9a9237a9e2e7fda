"""While the store closes: what was given up stays given up, and the answers of the last commit go out."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from edge_agent import down_piv, own_events
from edge_agent.planning import Plan
from edge_agent.tests.pump import Pump, pump
from edge_agent.writer import COMPANY, ENTRIES, PAUSE

DEVICES = {7: (bytes(32), 1)}


def offered(edge: Pump) -> str:
    """Hands over what waits -> what the work waits for then."""
    edge.agent.ingest.hand_over()
    entries, edge.writer.entries = edge.writer.entries, []
    wait = edge.writer._work.send(entries)
    while wait.what == COMPANY:
        wait = edge.writer._work.send([])
    return wait.what


async def test_after_a_group_that_was_given_up_none_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pump(tmp_path, DEVICES) as edge:
        assert offered(edge) == ENTRIES
        before = edge.dump()

        def full(_: Plan) -> None:
            raise apsw.FullError("no room")

        with monkeypatch.context() as patch:
            patch.setattr(edge.agent.ingest, "_apply", full)
            edge.agent.record(own_events.own(own_events.STOPPED))
            assert offered(edge) == PAUSE
        # There is room again, and more to commit: too late.
        with pytest.raises(StopIteration):
            edge.writer._work.send(None)
        assert edge.dump() == before


async def test_the_last_answers_go_out_though_the_clock_was_set(tmp_path: Path) -> None:
    with pump(tmp_path, DEVICES) as edge:
        edge.flush()
        edge.agent.ingest._closing = True
        marked = edge.dump()
        edge.agent.room.stepped(3_600_000)
        edge.flush()
        assert edge.dump() == marked


async def test_the_last_answers_take_the_numbers_that_are_reserved(tmp_path: Path) -> None:
    with pump(tmp_path, DEVICES) as edge:
        edge.flush()
        edge.agent.ingest._closing = True
        found = [edge.agent._down.next() for _ in range(down_piv.FIRST + 1)]
        assert None not in found[: down_piv.FIRST - 1]
        assert found[-1] is None
        assert len(set(found)) == len(found)
