-- Firmware on its way to devices: one release a device, and its files until they are no longer needed.
CREATE TABLE firmware_update (
    device     INTEGER PRIMARY KEY,
    signed     BLOB NOT NULL,         -- the signed manifest
    state      TEXT NOT NULL,         -- sending, done, refused, rolled_back, failed, withdrawn
    reason     TEXT NOT NULL,         -- the device's last refusal
    changed_ms INTEGER NOT NULL       -- when the state was entered
) STRICT;

CREATE TABLE firmware_file (
    device  INTEGER NOT NULL,
    name    TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (device, name)
) STRICT;
