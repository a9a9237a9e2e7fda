-- Version 2: what became known later of when events happened. What was said first stays in t_lo_ms and t_hi_ms; the best
-- that is known stands in best_*, NULL while that is the first word.
ALTER TABLE event ADD COLUMN best_lo_ms INTEGER;
ALTER TABLE event ADD COLUMN best_hi_ms INTEGER;
DROP INDEX event_by_time;
CREATE INDEX event_by_time ON event (coalesce(best_hi_ms, t_hi_ms), kind);

-- Every later statement as it came: events first..last of a boot; t_lo_ms and t_hi_ms are those of uptime_cs.
CREATE TABLE restated (
    site INTEGER NOT NULL,
    device INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    uptime_cs INTEGER NOT NULL,
    t_lo_ms INTEGER NOT NULL,
    t_hi_ms INTEGER NOT NULL,
    said_ms INTEGER NOT NULL,
    stored_ms INTEGER NOT NULL,
    PRIMARY KEY (site, device, boot, first, last, t_lo_ms, t_hi_ms)
) WITHOUT ROWID;

DROP VIEW site_event;
CREATE VIEW site_event AS
    SELECT site.id AS site, device, boot, seq, kind, uptime_cs, t_lo_ms, t_hi_ms, received_ms, payload,
        coalesce(best_lo_ms, t_lo_ms) AS best_lo_ms, coalesce(best_hi_ms, t_hi_ms) AS best_hi_ms
    FROM event JOIN site ON site.key = event.site;

PRAGMA user_version = 2;
