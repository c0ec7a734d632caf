-- Envoys that ended when nobody asked them to: exchanges of that time may have no record.
CREATE TABLE envoy_ends (
    instance TEXT NOT NULL,
    until_us INTEGER NOT NULL,
    since_us INTEGER NOT NULL,
    how      TEXT NOT NULL,
    PRIMARY KEY (instance, until_us)
) STRICT;

CREATE INDEX envoy_ends_by_time ON envoy_ends (until_us);
