-- One row is one received run of events: one device, one boot, contiguous seqs, as the device signed it.
-- The log is the outbox: rows past a lane's cursor are still to be delivered.
CREATE TABLE log (
    pos         INTEGER PRIMARY KEY,  -- given by the writer, rising, never used again
    device      INTEGER NOT NULL,
    boot        INTEGER NOT NULL,
    first_seq   INTEGER NOT NULL,
    last_seq    INTEGER NOT NULL,     -- first_seq - 1: no events, only a proof (mac8) of the chain so far
    uptime_cs   INTEGER NOT NULL,     -- of the first event, 10 ms since boot
    t_lo_ms     INTEGER NOT NULL,     -- of the first event; 0: nothing known
    t_hi_ms     INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    priority    INTEGER NOT NULL,     -- highest class among the events: 0 routine, 1 normal, 2 alarm
    skipped     INTEGER NOT NULL,     -- seqs right before first_seq that the device no longer has
    mac_before  BLOB,                 -- chain value before the skipped ones
    items       BLOB NOT NULL,        -- CBOR sequence payload0, dt1, payload1, ... as received
    mac8        BLOB                  -- chain value after the last event
) STRICT;

CREATE INDEX log_alarm ON log (pos) WHERE priority = 2;

-- Written in the transaction of the rows it speaks of. No row: the device was never heard.
CREATE TABLE device (
    device          INTEGER PRIMARY KEY,
    epoch           INTEGER NOT NULL, -- of the key that the replay window belongs to
    piv_high        INTEGER NOT NULL, -- replay window: highest partial IV, and a bit for each of the 64 up to it
    piv_mask        INTEGER NOT NULL, -- as a signed 64-bit number
    upto            INTEGER NOT NULL, -- watermark: every seq up to here is held or given up
    islands         BLOB NOT NULL,    -- CBOR [[first, last], ...] held above the watermark
    proved_seq      INTEGER NOT NULL, -- highest seq with a chain value in the log
    last_contact_ms INTEGER NOT NULL,
    last_boot       INTEGER NOT NULL, -- boot of the youngest event
    last_lo_ms      INTEGER NOT NULL  -- and when it surely had not happened before
) STRICT;

-- What a device said of itself; written with its hello and its status.
CREATE TABLE session (
    device     INTEGER PRIMARY KEY,
    boot       INTEGER NOT NULL,
    boot_nonce BLOB NOT NULL,
    firmware   TEXT NOT NULL,
    battery_mv INTEGER,
    pending    INTEGER NOT NULL,
    refused    BLOB NOT NULL,         -- CBOR [routine, normal, alarm]
    time_book  BLOB NOT NULL          -- CBOR, see timing.TimeBook
) STRICT;

-- Authentic messages that could not be taken as events, kept as they came.
CREATE TABLE quarantine (
    id          INTEGER PRIMARY KEY,
    device      INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    first_seq   INTEGER,              -- where it could be read
    last_seq    INTEGER,
    message     BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX quarantine_once ON quarantine (device, message);

CREATE TABLE lane (
    name      TEXT PRIMARY KEY,       -- normal, alarm
    cursor    INTEGER NOT NULL,       -- the office has every row of this lane up to here
    appended  INTEGER NOT NULL,       -- events ever put into the lane
    delivered INTEGER NOT NULL        -- events ever receipted
) STRICT;

INSERT INTO lane VALUES ('normal', 0, 0, 0), ('alarm', 0, 0, 0);

-- The office's last word on each device.
CREATE TABLE receipt (
    device      INTEGER PRIMARY KEY,
    complete_to INTEGER NOT NULL,
    missing     BLOB NOT NULL         -- CBOR [[first, last], ...]
) STRICT;

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,           -- next_pos, down_piv, edge_boot
    value INTEGER NOT NULL
) STRICT;
