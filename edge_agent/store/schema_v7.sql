-- A tree can begin anew, where a restored store goes on at positions far away: each head says where its own begins.
ALTER TABLE head ADD COLUMN first_pos INTEGER NOT NULL DEFAULT 1;
UPDATE head SET first_pos = (SELECT first_pos FROM tree);
