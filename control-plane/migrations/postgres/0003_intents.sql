-- Records stored before their request left, until the exchange is over: few, and
-- looked for.
CREATE INDEX evidence_unfinished ON evidence (id)
WHERE source = 'outbox' AND epoch_key IS NULL;
