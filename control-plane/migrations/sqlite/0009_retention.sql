-- Records that were let go when they were old enough. Their leaves stay in the tree;
-- a file of the archive has the records.
CREATE TABLE retentions (
    -- Name of the file.
    archive   TEXT PRIMARY KEY NOT NULL,
    let_go_us INTEGER NOT NULL,
    records   INTEGER NOT NULL,
    -- What the log's key signed about it.
    note      TEXT    NOT NULL
) STRICT;

-- One row for each record that went, so that asking for it is answered.
CREATE TABLE retired_evidence (
    leaf_index INTEGER PRIMARY KEY NOT NULL,
    id         BLOB    NOT NULL,
    -- NULL: it was provisional.
    epoch_key  INTEGER,
    seq        INTEGER NOT NULL,
    archive    TEXT    NOT NULL REFERENCES retentions (archive)
) STRICT;

CREATE INDEX retired_by_id ON retired_evidence (id);
CREATE INDEX retired_by_place ON retired_evidence (epoch_key, seq) WHERE epoch_key IS NOT NULL;

-- A hold on exchanges of a time: not before, and before. NULL: no bound.
ALTER TABLE legal_holds ADD COLUMN since_us INTEGER;
ALTER TABLE legal_holds ADD COLUMN until_us INTEGER;
