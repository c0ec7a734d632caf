-- Who asked is no part of a record any more: it stands here, so that it can be
-- erased. A row is a subject's key; when it is gone, nothing tells whom its
-- records are of, and what it sealed cannot be read.
CREATE TABLE subject_keys (
    -- Random; what records are found by.
    subject_ref uuid   PRIMARY KEY,
    subject     text   NOT NULL UNIQUE,
    -- Seals the salts of the subject's records.
    key         bytea  NOT NULL,
    created_us  bigint NOT NULL
);

-- `salt` of a record with a subject is sealed under that subject's key from now
-- on. `subject` stays for the version before this one and is not written any more.
ALTER TABLE evidence ADD COLUMN subject_ref uuid;

DROP INDEX evidence_by_subject;

CREATE INDEX evidence_by_subject_ref ON evidence (subject_ref, id)
WHERE subject_ref IS NOT NULL;

-- Never deleted; each control plane keeps a copy outside the database.
CREATE TABLE erasures (
    subject_ref uuid   PRIMARY KEY,
    erased_us   bigint NOT NULL,
    erased_by   text   NOT NULL,
    reason      text   NOT NULL
);

CREATE TABLE legal_holds (
    id          uuid   PRIMARY KEY,
    -- NULL: holds everything.
    subject_ref uuid,
    reason      text   NOT NULL,
    placed_us   bigint NOT NULL,
    placed_by   text   NOT NULL,
    released_us bigint,
    released_by text
);
