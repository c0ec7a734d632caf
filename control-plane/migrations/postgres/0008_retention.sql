-- Records that were let go when they were old enough. Their leaves stay in the tree;
-- a file of the archive has the records.
CREATE TABLE retentions (
    -- Name of the file.
    archive   text   PRIMARY KEY,
    let_go_us bigint NOT NULL,
    records   bigint NOT NULL,
    -- What the log's key signed about it.
    note      text   NOT NULL
);

-- One row for each record that went, so that asking for it is answered.
CREATE TABLE retired_evidence (
    leaf_index bigint PRIMARY KEY,
    id         uuid   NOT NULL,
    -- NULL: it was provisional.
    epoch_key  bigint,
    seq        bigint NOT NULL,
    archive    text   NOT NULL
);

CREATE INDEX retired_by_id ON retired_evidence (id);
CREATE INDEX retired_by_place ON retired_evidence (epoch_key, seq) WHERE epoch_key IS NOT NULL;

-- A hold on exchanges of a time: not before, and before. NULL: no bound.
ALTER TABLE legal_holds ADD COLUMN since_us bigint, ADD COLUMN until_us bigint;
