-- Version 4: which edges may send by a key of their own, how they came to that, and who tried secrets.

-- The present key of each edge. Revoked: it may not send until it is enrolled again.
CREATE TABLE edge (
    site INTEGER NOT NULL REFERENCES site (key),
    edge TEXT NOT NULL,
    public_key BLOB NOT NULL,
    enrolled_ms INTEGER NOT NULL,
    revoked_ms INTEGER,
    seen_ms INTEGER,
    PRIMARY KEY (site, edge)
) WITHOUT ROWID;

-- The latest one-time code for each edge, only as a hash; pin: what the line said of the certificate.
CREATE TABLE enrolment_code (
    site INTEGER NOT NULL REFERENCES site (key),
    edge TEXT NOT NULL,
    code_sha256 BLOB NOT NULL,
    pin BLOB NOT NULL,
    made_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    used_ms INTEGER,
    PRIMARY KEY (site, edge)
) WITHOUT ROWID;

-- Every step, for good. what: code, enrolled, replaced (another key than before), revoked.
CREATE TABLE edge_history (
    id INTEGER PRIMARY KEY,
    site INTEGER NOT NULL REFERENCES site (key),
    edge TEXT NOT NULL,
    what TEXT NOT NULL,
    public_key BLOB,
    source TEXT NOT NULL,
    at_ms INTEGER NOT NULL
);

-- Wrong tries that had to wait. kind: login, token, code, code_used; source: an address, or site/edge.
CREATE TABLE security_alarm (
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    tries INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, source)
) WITHOUT ROWID;

PRAGMA user_version = 4;
