-- The tree over the delivered rows of the log (README, "Integrity"). A node's place is level << 48 | index; level 0 are
-- the leaves, of which one stays for each row, also when the row is pruned; levels 8, 16 ... are full subtrees.
CREATE TABLE tree_node (
    place INTEGER PRIMARY KEY,
    hash  BLOB NOT NULL
) STRICT;

-- One row. A store from before the tree begins it behind what it has delivered already.
CREATE TABLE tree (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    first_pos INTEGER NOT NULL,       -- the first row that it covers; leaf i is row first_pos + i
    size      INTEGER NOT NULL,
    frontier  BLOB NOT NULL           -- hashes of its full subtrees, the largest first
) STRICT;

INSERT INTO tree SELECT 1, max(cursor) + 1, 0, x'' FROM lane;

-- What this edge stated of the tree.
CREATE TABLE head (
    number       INTEGER PRIMARY KEY,
    size         INTEGER NOT NULL,
    root         BLOB NOT NULL,
    time_ms      INTEGER NOT NULL,
    public       BLOB NOT NULL,       -- the key that it was signed with
    signature    BLOB NOT NULL,
    delivered_ms INTEGER              -- when the office had it
) STRICT;
