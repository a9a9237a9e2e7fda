-- Runs whose time is known only loosely; a later anchor may tighten it. The log keeps what was said first; what is known
-- better is said by a further row of the log: last_seq = first_seq - 1, no items, no mac8, `skipped` = how many events
-- from first_seq on it speaks of, and their first one's uptime_cs, t_lo_ms and t_hi_ms.
CREATE TABLE loose (
    device    INTEGER NOT NULL,
    boot      INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    uptime_cs INTEGER NOT NULL,
    span_cs   INTEGER NOT NULL,   -- from the first event to the last
    t_lo_ms   INTEGER NOT NULL,   -- the best that was said so far
    t_hi_ms   INTEGER NOT NULL,
    PRIMARY KEY (device, boot, first_seq)
) STRICT, WITHOUT ROWID;
