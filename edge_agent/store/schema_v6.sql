-- Live rows overtake a backlog: what the office has of a lane above its cursor.
ALTER TABLE lane ADD COLUMN ahead BLOB NOT NULL DEFAULT x'80';  -- CBOR [[first, last], ...]: positions, sorted, disjoint

-- Rows that the office refused for good, one by one. They stay in the log, are never pruned, and are tried again.
CREATE TABLE refused (
    pos      INTEGER PRIMARY KEY,
    lane     TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    tried_ms INTEGER NOT NULL,
    reason   TEXT NOT NULL             -- what the office said
) STRICT;

-- How far delivery was, now and then: what was delivered before a mark is at least as old as the mark.
CREATE TABLE mark (
    at_ms    INTEGER PRIMARY KEY,
    through  INTEGER NOT NULL,         -- the office has every row up to here, but for refused ones
    appended INTEGER NOT NULL          -- events ever put into all lanes by then
) STRICT;
