"""10,000 random lives of device and edge clocks: the true time lies in every interval that was ever stated."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from edge_agent import timing
from edge_agent.tests import clock_histories
from node import clock

COUNT = 100_000 if os.environ.get("GATEPOST_SOAK") else 10_000


def test_the_true_time_is_always_inside() -> None:
    found, wrong = clock_histories.play(COUNT)
    statements = 0
    for name, histories in found.items():
        statements += sum(history.statements for history in histories)
        best = clock_histories.widths(histories, "best")
        print(f"{name}: median {best[len(best) // 2]:,} ms, p90 {best[len(best) * 9 // 10]:,} ms")
        assert sum(len(history.best) for history in histories) > len(histories)
    print(f"{COUNT} histories, {statements} statements, {wrong} wrong")
    assert wrong == 0
    online = clock_histories.widths(found["barrier, online"], "best")
    assert online[len(online) // 2] < 200


def _no_sleep(_first: int, _last: int, _sleeps: object) -> int:
    return 0


def _no_slack(_first: int, _last: int, _facts: object) -> int:
    return 0


def _no_wait(self: clock.Clock, sent_ms: int, received_ms: int, edge_ms: int, error_ms: int) -> None:
    self.anchor = (sent_ms, edge_ms, error_ms)
    self._slept_then_ms = self.slept_ms


@pytest.mark.parametrize(
    ("where", "name", "mutant"),
    [
        (timing, "asleep_at_most", _no_sleep),
        (timing, "slack", _no_slack),
        (timing, "GRAIN_MS", -200),
        (clock.Clock, "contact", _no_wait),
        (clock.Clock, "slept", lambda _self, _ms: None),
    ],
)
def test_a_judgement_that_forgets_something_is_found(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, mutant: Callable[..., object] | int
) -> None:
    monkeypatch.setattr(where, name, mutant)
    _, wrong = clock_histories.play(1_100)
    assert wrong > 0
