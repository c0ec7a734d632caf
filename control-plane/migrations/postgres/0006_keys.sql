-- Whose an idempotency key is. Times are those of the instance that claims.
CREATE TABLE idempotency_keys (
    -- SHA-256 of the key and its subject, and of the request.
    key        bytea  PRIMARY KEY,
    request    bytea  NOT NULL,
    exchange   uuid   NOT NULL,
    instance   text   NOT NULL,
    claimed_us bigint NOT NULL
);

CREATE INDEX idempotency_keys_by_time ON idempotency_keys (claimed_us);

-- When each instance last said that it lives, by its own clock.
CREATE TABLE signs_of_life (
    instance text   PRIMARY KEY,
    at_us    bigint NOT NULL
);
