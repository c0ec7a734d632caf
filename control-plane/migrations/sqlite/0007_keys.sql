-- Whose an idempotency key is. Times are those of the instance that claims.
CREATE TABLE idempotency_keys (
    -- SHA-256 of the key and its subject, and of the request.
    key        BLOB    PRIMARY KEY NOT NULL,
    request    BLOB    NOT NULL,
    exchange   BLOB    NOT NULL,
    instance   TEXT    NOT NULL,
    claimed_us INTEGER NOT NULL
) STRICT;

CREATE INDEX idempotency_keys_by_time ON idempotency_keys (claimed_us);

-- When each instance last said that it lives, by its own clock.
CREATE TABLE signs_of_life (
    instance TEXT    PRIMARY KEY NOT NULL,
    at_us    INTEGER NOT NULL
) STRICT;
