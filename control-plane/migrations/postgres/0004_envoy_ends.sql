-- Envoys that ended when nobody asked them to: exchanges of that time may have no record.
CREATE TABLE envoy_ends (
    instance text NOT NULL,
    until_us bigint NOT NULL,
    since_us bigint NOT NULL,
    how      text NOT NULL,
    PRIMARY KEY (instance, until_us)
);

CREATE INDEX envoy_ends_by_time ON envoy_ends (until_us);
