-- The evidence tree. Records stored before this have no leaf.

CREATE TABLE log_state (
    one  boolean PRIMARY KEY CHECK (one),
    -- Leaves in the tree. Whoever adds some passes what it was.
    size bigint NOT NULL
);

INSERT INTO log_state (one, size) VALUES (true, 0);

-- Leaves on their way to the tree, a transaction each.
CREATE TABLE log_waiting (
    batch  bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    leaves integer NOT NULL,
    -- Their hashes one after the other, and the records they stand for.
    hashes bytea   NOT NULL,
    ids    uuid[]  NOT NULL
);

-- Where in the tree the leaves of a transaction begin: a record's row says which
-- of them is its own and is never touched again.
CREATE TABLE log_batches (
    batch       bigint  PRIMARY KEY,
    first_index bigint  NOT NULL UNIQUE,
    leaves      integer NOT NULL,
    ids         uuid[]  NOT NULL
);

-- Places are counted from 1.
ALTER TABLE evidence ADD COLUMN batch_place integer, ADD COLUMN batch bigint;

CREATE TABLE log_tiles (
    level      smallint NOT NULL,
    tile_index bigint   NOT NULL,
    hashes     bytea    NOT NULL,
    PRIMARY KEY (level, tile_index)
);

-- Hashes do not compress.
ALTER TABLE log_waiting ALTER COLUMN hashes SET STORAGE EXTERNAL;
ALTER TABLE log_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TABLE log_checkpoints (
    size      bigint PRIMARY KEY,
    root      bytea  NOT NULL,
    note      text   NOT NULL,
    signed_us bigint NOT NULL
);

-- Exchanges in Envoy's access log that the filter did not record.
CREATE TABLE unrecorded_exchanges (
    -- The line of the log.
    line        text    PRIMARY KEY,
    found_us    bigint  NOT NULL,
    instance    text    NOT NULL,
    request_id  uuid,
    status_code integer NOT NULL,
    details     text    NOT NULL
);

CREATE INDEX unrecorded_by_time ON unrecorded_exchanges (found_us);

-- Records that came by the access log alone: few, and looked for.
CREATE INDEX evidence_recovered ON evidence (id) WHERE source = 'witness';
