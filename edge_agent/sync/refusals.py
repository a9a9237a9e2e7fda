"""Layer: which row of a refused upload is meant, and how to send the others without it; pure."""

from __future__ import annotations

import re
from itertools import pairwise

from edge_agent.errors import OfficeRefusedError
from edge_agent.store.outbox import Part

# Refused rows of more than one device without a single one taken in between: then the office is wrong, not the rows.
# However many of one device alone: what that one made must not hold up what others have to say.
MAX_IN_A_ROW = 64
RETRY_MS = 86_400_000
RETRY_ROWS = 256
_ROW = re.compile(r"rows\[(\d{1,6})\]")


def of_rows(error: OfficeRefusedError) -> bool:
    """Whether the refusal is about what is in the batch, not about who sends it or in which form."""
    return error.status == 413 or (error.status == 422 and _ROW.match(error.field) is not None)


def cut(part: Part, error: OfficeRefusedError) -> list[Part]:
    """The part in pieces, so that the row that is named stands alone (413: two halves); [] when it is one row."""
    size = len(part.rows)
    if size == 1:
        return []
    named = _ROW.match(error.field)
    at = int(named.group(1)) if named and error.status != 413 else size
    bounds = [0, at, at + 1, size] if at < size else [0, size // 2, size]
    pieces: list[Part] = []
    first = part.first
    for low, high in pairwise(bounds):
        if low == high:
            continue
        last = high == size
        through = part.through if last else part.rows[high - 1].pos
        pieces.append(part._replace(first=first, through=through, rows=part.rows[low:high]))
        first = through + 1
    return pieces
