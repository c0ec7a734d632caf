-- The evidence tree. Records stored before this have no leaf.

-- One row. `evidence.arrival` of a leaf is its index and `first_arrival`: there
-- is one writer, so that the order of arrival is that of the tree.
CREATE TABLE log_state (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    first_arrival INTEGER NOT NULL,
    -- Leaves that ever came, and how many of them are in the tree.
    appended      INTEGER NOT NULL,
    size          INTEGER NOT NULL
) STRICT;

INSERT INTO log_state (one, first_arrival, appended, size)
SELECT 1, coalesce(max(arrival), 0) + 1, 0, 0 FROM evidence;

-- Leaves on their way to the tree, a transaction each.
CREATE TABLE log_waiting (
    first_index INTEGER PRIMARY KEY NOT NULL,
    leaves      BLOB    NOT NULL
) STRICT;

CREATE TABLE log_tiles (
    level      INTEGER NOT NULL,
    tile_index INTEGER NOT NULL,
    hashes     BLOB    NOT NULL,
    PRIMARY KEY (level, tile_index)
) STRICT;

CREATE TABLE log_checkpoints (
    size      INTEGER PRIMARY KEY NOT NULL,
    root      BLOB    NOT NULL,
    note      TEXT    NOT NULL,
    signed_us INTEGER NOT NULL
) STRICT;

-- Exchanges in Envoy's access log that the filter did not record.
CREATE TABLE unrecorded_exchanges (
    -- The line of the log.
    line        TEXT PRIMARY KEY NOT NULL,
    found_us    INTEGER NOT NULL,
    instance    TEXT    NOT NULL,
    request_id  BLOB,
    status_code INTEGER NOT NULL,
    details     TEXT    NOT NULL
) STRICT;

CREATE INDEX unrecorded_by_time ON unrecorded_exchanges (found_us);

-- Records that came by the access log alone: few, and looked for.
CREATE INDEX evidence_recovered ON evidence (id) WHERE source = 'witness';
