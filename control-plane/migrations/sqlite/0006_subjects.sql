-- Who asked is no part of a record any more: it stands here, so that it can be
-- erased. A row is a subject's key; when it is gone, nothing tells whom its
-- records are of, and what it sealed cannot be read.
CREATE TABLE subject_keys (
    -- Random; what records are found by.
    subject_ref BLOB PRIMARY KEY NOT NULL,
    subject     TEXT    NOT NULL UNIQUE,
    -- Seals the salts of the subject's records.
    key         BLOB    NOT NULL,
    created_us  INTEGER NOT NULL
) STRICT;

-- `salt` of a record with a subject is sealed under that subject's key from now
-- on; `subject` is not written any more.
ALTER TABLE evidence ADD COLUMN subject_ref BLOB;

DROP INDEX evidence_by_subject;

CREATE INDEX evidence_by_subject_ref ON evidence (subject_ref, id)
WHERE subject_ref IS NOT NULL;

-- Never deleted; the control plane keeps a copy outside the database.
CREATE TABLE erasures (
    subject_ref BLOB PRIMARY KEY NOT NULL,
    erased_us   INTEGER NOT NULL,
    erased_by   TEXT    NOT NULL,
    reason      TEXT    NOT NULL
) STRICT;

CREATE TABLE legal_holds (
    id          BLOB PRIMARY KEY NOT NULL,
    -- NULL: holds everything.
    subject_ref BLOB,
    reason      TEXT    NOT NULL,
    placed_us   INTEGER NOT NULL,
    placed_by   TEXT    NOT NULL,
    released_us INTEGER,
    released_by TEXT
) STRICT;
