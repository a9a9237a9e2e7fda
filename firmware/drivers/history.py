# Layer: what the journal remembers of the time before a restart, newest first.
from gatelink import events
from gatelink.errors import GatelinkError

try:
    from typing import Any, Iterator
except ImportError:
    pass


# journal: next_seq, read(); limit: how many events back -> decoded events, [kind, fields...]
def newest_first(journal: "Any", limit: int) -> "Iterator[list[Any]]":
    seq = journal.next_seq - 1
    last = max(0, seq - limit)
    while seq > last:
        slot = journal.read(seq)
        if slot:
            try:
                yield events.decode(slot.payload)
            except GatelinkError:
                pass  # of a younger version, before a rollback
        seq -= 1
