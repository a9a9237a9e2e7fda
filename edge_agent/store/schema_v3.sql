-- Link keys that are no longer as devices.toml gave them: rotated, being rotated, or revoked. No row: as given there.
CREATE TABLE link_key (
    device     INTEGER PRIMARY KEY,
    base_epoch INTEGER NOT NULL,      -- what devices.toml gave, and SHA-256 of it: another key there replaces this row
    base       BLOB NOT NULL,
    epoch      INTEGER NOT NULL,      -- the key in use
    key        BLOB NOT NULL,         -- empty: revoked
    next_key   BLOB,                  -- of epoch + 1: pending until the device has spoken it
    revoked_ms INTEGER
) STRICT;
