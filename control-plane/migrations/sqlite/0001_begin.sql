-- Times are microseconds since the Unix epoch, UTC. Applied migrations are never edited.

-- Every revision of every policy, kept for ever.
CREATE TABLE policy_revisions (
    name        TEXT    NOT NULL,
    revision    INTEGER NOT NULL,
    -- The author's exact text; NULL: this revision deleted the policy.
    source      TEXT,
    version     TEXT,
    description TEXT,
    author      TEXT    NOT NULL,
    created_us  INTEGER NOT NULL,
    PRIMARY KEY (name, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE active_policies (
    name     TEXT PRIMARY KEY NOT NULL,
    revision INTEGER NOT NULL,
    FOREIGN KEY (name, revision) REFERENCES policy_revisions (name, revision)
) STRICT, WITHOUT ROWID;

-- Immutable: evidence names bundles by digest.
CREATE TABLE bundles (
    digest     TEXT PRIMARY KEY NOT NULL,
    bytes      BLOB    NOT NULL,
    created_us INTEGER NOT NULL
) STRICT;

-- One row for each change of the set of active policies; the last one is in force.
CREATE TABLE bundle_activations (
    revision     INTEGER PRIMARY KEY NOT NULL,
    -- NULL: no policy was left, so nothing may be decided.
    digest       TEXT REFERENCES bundles (digest),
    author       TEXT    NOT NULL,
    activated_us INTEGER NOT NULL
) STRICT;

-- What is known of each emitter's sequence, kept up to date by every append,
-- so that nobody has to count millions of records to find a gap.
CREATE TABLE emitter_epochs (
    key               INTEGER PRIMARY KEY NOT NULL,
    emitter           TEXT    NOT NULL,
    epoch             TEXT    NOT NULL,
    -- Records stored, and how many different places of the sequence they take.
    records           INTEGER NOT NULL,
    places            INTEGER NOT NULL,
    first_seq         INTEGER NOT NULL,
    last_seq          INTEGER NOT NULL,
    chain_breaks      INTEGER NOT NULL,
    first_received_us INTEGER NOT NULL,
    last_received_us  INTEGER NOT NULL,
    UNIQUE (emitter, epoch)
) STRICT;

CREATE TABLE evidence (
    -- In order of arrival, which is not the order of ids.
    arrival     INTEGER PRIMARY KEY NOT NULL,
    -- UUIDv7, so that order of ids is order of time.
    id          BLOB    NOT NULL UNIQUE,
    time_us     INTEGER NOT NULL,
    received_us INTEGER NOT NULL,
    source      TEXT    NOT NULL CHECK (source IN ('outbox', 'witness')),
    -- NULL while provisional: such a record has no place in a sequence yet.
    epoch_key   INTEGER REFERENCES emitter_epochs (key),
    seq         INTEGER NOT NULL,
    subject     TEXT,
    model       TEXT,
    decision    TEXT    NOT NULL,
    leaf        BLOB    NOT NULL,
    salt        BLOB    NOT NULL,
    -- The canonical bytes that were hashed, verbatim.
    record      TEXT    NOT NULL
) STRICT;

CREATE INDEX evidence_by_place   ON evidence (epoch_key, seq) WHERE epoch_key IS NOT NULL;
CREATE INDEX evidence_by_subject ON evidence (subject, id) WHERE subject IS NOT NULL;
CREATE INDEX evidence_by_model   ON evidence (model, id) WHERE model IS NOT NULL;
-- Most exchanges are allowed; the others are what people look for.
CREATE INDEX evidence_denied     ON evidence (id) WHERE decision = 'deny';
CREATE INDEX evidence_errored    ON evidence (id) WHERE decision = 'error';

-- `rule` and `policy/rule` of every match.
CREATE TABLE evidence_rules (
    rule TEXT NOT NULL,
    id   BLOB NOT NULL REFERENCES evidence (id),
    PRIMARY KEY (rule, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX evidence_rules_by_id ON evidence_rules (id);

-- What could not become evidence. A line sent again counts once more.
CREATE TABLE quarantine (
    -- Of a record its leaf hash, of any other line its SHA-256.
    hash              BLOB    NOT NULL,
    reason            TEXT    NOT NULL,
    source            TEXT    NOT NULL,
    -- The record, or the line as received, cut at the size a record may have.
    line              BLOB    NOT NULL,
    times             INTEGER NOT NULL,
    first_received_us INTEGER NOT NULL,
    last_received_us  INTEGER NOT NULL,
    PRIMARY KEY (hash, reason)
) STRICT;

CREATE TABLE tokens (
    id         BLOB PRIMARY KEY NOT NULL,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    -- Of the token's text, which is stored nowhere.
    sha256     BLOB    NOT NULL UNIQUE,
    created_us INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    revoked_us INTEGER
) STRICT;

-- How far a reader has come in something outside the database.
CREATE TABLE cursors (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Health checks write here and roll back.
CREATE TABLE write_probe (
    at_us INTEGER NOT NULL
) STRICT;
