"""Layer: how large the next upload is and how many are under way at once, by how the last ones went; pure."""

from __future__ import annotations

LEAST_BYTES = 1_024  # on a line of 9,600 baud this takes about a second
FIRST_BYTES = 8_192
QUICK_S, SLOW_S = 0.25, 0.75
BYTES_A_SLOT = 4_096
SLACK = 2  # uploads that wait at the office, so that it never waits for us
FORGET = 1.002  # the quickest upload is forgotten by so much with each one: a link may have become longer


class Sizing:
    """`budget`: bytes of one upload before compression; grows while full uploads are quick, shrinks when they are slow.

    `in_flight`: as many as the way to the office and back holds at the rate that it takes them, and SLACK: more would
    only wait there, and live events behind them. Both ends are the technician's (batch_bytes, in_flight); one row
    goes out however small the budget is.
    """

    def __init__(self, most_bytes: int, most_in_flight: int) -> None:
        self._most_bytes = most_bytes
        self._most_in_flight = most_in_flight
        self._depth = float(SLACK)
        self._best_s = 0.0  # 0: none yet
        self.budget = min(FIRST_BYTES, most_bytes)

    @property
    def in_flight(self) -> int:
        """Uploads under way at once: fewer on a slow link, where they would only wait for each other."""
        return max(1, min(self.budget // BYTES_A_SLOT, int(self._depth), self._most_in_flight))

    def succeeded(self, size: int, full: bool, took_s: float, under_way: int) -> None:
        """An upload of `size` bytes was receipted, one of `under_way`; full: there was more to send.

        Uploads from before a larger budget change nothing.
        """
        self._best_s = min(self._best_s * FORGET or took_s, took_s)
        if full:
            # What the way holds: of the uploads that were out for took_s, the share that an undisturbed one is out.
            wanted = under_way * self._best_s / max(took_s, 1e-6) + SLACK
            self._depth = min(self._depth + (wanted - self._depth) / 4, float(self._most_in_flight))
        if size * 2 <= self.budget:
            return  # a small one says nothing of what a large one takes: it may have waited behind others
        if took_s > SLOW_S:
            self._shrink(int(self.budget * max(SLOW_S / took_s, 0.25)))
        elif took_s < QUICK_S and full:
            self.budget = min(self.budget * 2, self._most_bytes)

    def failed(self) -> None:
        """An upload had no answer in time."""
        self._shrink(self.budget // 4)

    def too_large(self) -> None:
        """The office takes no upload of this size."""
        self._shrink(self.budget // 2)

    def _shrink(self, wanted: int) -> None:
        self.budget = max(min(wanted, self.budget), min(LEAST_BYTES, self._most_bytes))
