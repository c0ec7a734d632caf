-- What was last vouched for of each log of others. A row that is lost lets a log show
-- another history.
CREATE TABLE cosigned_logs (
    origin      TEXT    PRIMARY KEY NOT NULL,
    size        INTEGER NOT NULL,
    root        BLOB    NOT NULL,
    -- As it came, signed by its log.
    note        TEXT    NOT NULL,
    cosigned_us INTEGER NOT NULL
) STRICT;
