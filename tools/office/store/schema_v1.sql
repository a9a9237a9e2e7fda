-- The office's database, version 1. Times are ms since 1970 (UTC) unless named _cs (10 ms).

CREATE TABLE site (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE
);

-- One row per device that a site ever named. checked_to/checked_mac: how far the event chain was followed.
CREATE TABLE device (
    site INTEGER NOT NULL REFERENCES site (key),
    device INTEGER NOT NULL,
    edge TEXT NOT NULL DEFAULT '',
    role INTEGER,
    name TEXT NOT NULL DEFAULT '',
    firmware TEXT,
    battery_mv INTEGER,
    last_contact_ms INTEGER,
    checked_to INTEGER NOT NULL DEFAULT 0,
    checked_mac BLOB NOT NULL DEFAULT x'0000000000000000',
    PRIMARY KEY (site, device)
) WITHOUT ROWID;

-- Every event once. The payload is what the device signed; kind stands apart only to be searched.
CREATE TABLE event (
    site INTEGER NOT NULL,
    device INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    uptime_cs INTEGER NOT NULL,
    t_lo_ms INTEGER NOT NULL,
    t_hi_ms INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (site, device, seq, boot)
) WITHOUT ROWID;
CREATE INDEX event_by_time ON event (t_hi_ms, kind);

-- The device's own chain values: source 0 end of a run, 1 status, 2 before a declared loss.
CREATE TABLE proof (
    site INTEGER NOT NULL,
    device INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    mac8 BLOB NOT NULL,
    source INTEGER NOT NULL,
    PRIMARY KEY (site, device, seq, mac8)
) WITHOUT ROWID;

-- Which sequence numbers are accounted for (stored, or declared lost): sorted, apart, never touching.
CREATE TABLE span (
    site INTEGER NOT NULL,
    device INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (site, device, first)
) WITHOUT ROWID;

-- What a device declared to be gone from its journal.
CREATE TABLE loss (
    site INTEGER NOT NULL,
    device INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    stored_ms INTEGER NOT NULL,
    PRIMARY KEY (site, device, first, last)
) WITHOUT ROWID;

-- What the check of the chain found: reason 0 the chain value does not fit, 1 no chain value covers these events,
-- 2 one sequence number stands twice, under two boots.
CREATE TABLE finding (
    site INTEGER NOT NULL,
    device INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    found_ms INTEGER NOT NULL,
    PRIMARY KEY (site, device, first, last, reason)
) WITHOUT ROWID;

-- Evidence: the same identity came again with another content. What came first stands in event.
CREATE TABLE conflict (
    site INTEGER NOT NULL,
    device INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    uptime_cs INTEGER NOT NULL,
    payload BLOB NOT NULL,
    edge TEXT NOT NULL,
    stored_ms INTEGER NOT NULL,
    PRIMARY KEY (site, device, seq, boot, uptime_cs, payload)
) WITHOUT ROWID;

-- Every batch that was taken.
CREATE TABLE batch (
    id INTEGER PRIMARY KEY,
    site INTEGER NOT NULL,
    edge TEXT NOT NULL,
    lane TEXT NOT NULL,
    through INTEGER NOT NULL,
    events INTEGER NOT NULL,
    added INTEGER NOT NULL,
    stored_ms INTEGER NOT NULL
);

-- For readers from outside: events with the site's own name.
CREATE VIEW site_event AS
    SELECT site.id AS site, device, boot, seq, kind, uptime_cs, t_lo_ms, t_hi_ms, received_ms, payload
    FROM event JOIN site ON site.key = event.site;

PRAGMA user_version = 1;
