-- Version 3: the edges' logs as they came and what the edges signed of them, so that everything that is stored can be
-- checked again from the stored events themselves (README, "What was stored").

-- One for each edge. branch: rises when the edge's log contradicts what was here. The rest is how far the check of heads
-- against rows has come: `head` is checked, its tree is `base`; on the way to the next head the tree is `frontier`.
CREATE TABLE edge_log (
    key INTEGER PRIMARY KEY,
    site INTEGER NOT NULL REFERENCES site (key),
    edge TEXT NOT NULL,
    branch INTEGER NOT NULL DEFAULT 0,
    head INTEGER NOT NULL DEFAULT 0,
    head_branch INTEGER NOT NULL DEFAULT 0,
    base_size INTEGER NOT NULL DEFAULT 0,
    base BLOB NOT NULL DEFAULT x'',
    size INTEGER NOT NULL DEFAULT 0,
    frontier BLOB NOT NULL DEFAULT x'',
    attempt INTEGER NOT NULL DEFAULT 0, -- where positions have several contents: which to take, see logs.chosen()
    UNIQUE (site, edge)
);

-- Every row of an edge's log but the events in it, which stand in event. The times are NULL where they are those of the
-- first event; leaf is the row's hash in the edge's tree.
CREATE TABLE log_row (
    log INTEGER NOT NULL REFERENCES edge_log (key),
    pos INTEGER NOT NULL,
    branch INTEGER NOT NULL,
    device INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    mac_before BLOB,
    mac8 BLOB,
    uptime_cs INTEGER,
    t_lo_ms INTEGER,
    t_hi_ms INTEGER,
    received_ms INTEGER,
    leaf BLOB NOT NULL,
    PRIMARY KEY (log, pos, branch)
) WITHOUT ROWID;

-- Keys that were taken as an edge's own when its first head came; an enrolled edge's stand elsewhere.
CREATE TABLE log_key (
    log INTEGER NOT NULL REFERENCES edge_log (key),
    public BLOB NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (log, public)
) WITHOUT ROWID;

-- Every head that an edge signed and that was taken. frontier: the full subtrees of its tree, kept for some.
CREATE TABLE log_head (
    id INTEGER PRIMARY KEY,
    log INTEGER NOT NULL REFERENCES edge_log (key),
    branch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    first_pos INTEGER NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    time_ms INTEGER NOT NULL,
    public BLOB NOT NULL,
    signature BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    frontier BLOB
);
CREATE INDEX log_head_by_log ON log_head (log, id);

-- What contradicts: see base.LOG_REASONS. first..last are positions of the log.
CREATE TABLE log_finding (
    log INTEGER NOT NULL REFERENCES edge_log (key),
    reason INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    found_ms INTEGER NOT NULL,
    PRIMARY KEY (log, reason, first, last)
) WITHOUT ROWID;

-- Which numbers of each device were accounted for before rows were kept: only the chain can tell of those.
CREATE TABLE before_log AS SELECT site, device, first, last FROM span;

PRAGMA user_version = 3;
