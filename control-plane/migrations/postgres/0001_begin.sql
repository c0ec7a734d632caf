-- Times are microseconds since the Unix epoch, UTC. Applied migrations are never
-- edited. Every migration must suit the version before it too, which runs on
-- beside it during an upgrade: docs/guides/postgres.md, "Upgrades".

-- Every revision of every policy, kept for ever.
CREATE TABLE policy_revisions (
    name        text   NOT NULL,
    revision    bigint NOT NULL,
    -- The author's exact text; NULL: this revision deleted the policy.
    source      text,
    version     text,
    description text,
    author      text   NOT NULL,
    created_us  bigint NOT NULL,
    -- Where policies come from a Git repository: the commit that brought it.
    commit_id   text,
    PRIMARY KEY (name, revision)
);

CREATE TABLE active_policies (
    name     text   PRIMARY KEY,
    revision bigint NOT NULL,
    FOREIGN KEY (name, revision) REFERENCES policy_revisions (name, revision)
);

-- Immutable: evidence names bundles by digest.
CREATE TABLE bundles (
    digest     text   PRIMARY KEY,
    bytes      bytea  NOT NULL,
    created_us bigint NOT NULL
);

-- One row for each change of the set of active policies; the last one is in force.
CREATE TABLE bundle_activations (
    revision     bigint PRIMARY KEY,
    -- NULL: no policy was left, so nothing may be decided.
    digest       text   REFERENCES bundles (digest),
    author       text   NOT NULL,
    activated_us bigint NOT NULL,
    commit_id    text
);

-- What is known of each emitter's sequence, kept up to date by every append, so
-- that nobody has to count millions of records to find a gap. Whoever appends
-- to a sequence locks its row. Room for updates in place.
CREATE TABLE emitter_epochs (
    key               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    emitter           text   NOT NULL,
    epoch             text   NOT NULL,
    -- Records stored, and how many different places of the sequence they take.
    records           bigint NOT NULL,
    places            bigint NOT NULL,
    first_seq         bigint NOT NULL,
    last_seq          bigint NOT NULL,
    chain_breaks      bigint NOT NULL,
    first_received_us bigint NOT NULL,
    last_received_us  bigint NOT NULL,
    UNIQUE (emitter, epoch)
) WITH (fillfactor = 50);

-- Partitioned by region, then by week of the id, which is a UUIDv7: old weeks go
-- by dropping a table, and no index outgrows a week. There is no default
-- partition: it would hold up detaching others. Partitions are made ahead by
-- the control plane (control-plane/src/store/postgres/partitions.rs). No
-- foreign keys: they would cost as much as the insert itself.
CREATE TABLE evidence (
    -- The region whose database took it in.
    origin_region text   NOT NULL,
    id            uuid   NOT NULL,
    time_us       bigint NOT NULL,
    received_us   bigint NOT NULL,
    source        text   NOT NULL,
    -- NULL while provisional: such a record has no place in a sequence yet.
    epoch_key     bigint,
    seq           bigint NOT NULL,
    subject       text,
    model         text,
    decision      text   NOT NULL,
    leaf          bytea  NOT NULL,
    salt          bytea  NOT NULL,
    -- The canonical bytes that were hashed, verbatim: jsonb would not keep them.
    record        text   NOT NULL,
    -- In this order, so that it serves the order of ids.
    PRIMARY KEY (id, origin_region)
) PARTITION BY LIST (origin_region);

CREATE INDEX evidence_by_place   ON evidence (epoch_key, seq) WHERE epoch_key IS NOT NULL;
CREATE INDEX evidence_by_subject ON evidence (subject, id) WHERE subject IS NOT NULL;
CREATE INDEX evidence_by_model   ON evidence (model, id) WHERE model IS NOT NULL;
-- Most exchanges are allowed; the others are what people look for.
CREATE INDEX evidence_denied     ON evidence (id) WHERE decision = 'deny';
CREATE INDEX evidence_errored    ON evidence (id) WHERE decision = 'error';

-- `rule` and `policy/rule` of every match; partitioned as evidence is.
CREATE TABLE evidence_rules (
    rule          text NOT NULL,
    origin_region text NOT NULL,
    id            uuid NOT NULL,
    PRIMARY KEY (rule, id, origin_region)
) PARTITION BY LIST (origin_region);

-- What could not become evidence. A line sent again counts once more.
CREATE TABLE quarantine (
    -- Of a record its leaf hash, of any other line its SHA-256.
    hash              bytea  NOT NULL,
    reason            text   NOT NULL,
    source            text   NOT NULL,
    -- The record, or the line as received, cut at the size a record may have.
    line              bytea  NOT NULL,
    times             bigint NOT NULL,
    first_received_us bigint NOT NULL,
    last_received_us  bigint NOT NULL,
    PRIMARY KEY (hash, reason)
);

CREATE TABLE tokens (
    id         uuid   PRIMARY KEY,
    name       text   NOT NULL,
    role       text   NOT NULL,
    -- Of the token's text, which is stored nowhere.
    sha256     bytea  NOT NULL UNIQUE,
    created_us bigint NOT NULL,
    created_by text   NOT NULL,
    revoked_us bigint
);

-- How far a reader has come in something outside the database.
CREATE TABLE cursors (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- Health checks write here and roll back.
CREATE TABLE write_probe (
    at_us bigint NOT NULL
);
