-- What was last vouched for of each log of others. A row that is lost lets a log show
-- another history.
CREATE TABLE cosigned_logs (
    origin      text   PRIMARY KEY,
    size        bigint NOT NULL,
    root        bytea  NOT NULL,
    -- As it came, signed by its log.
    note        text   NOT NULL,
    cosigned_us bigint NOT NULL
);
