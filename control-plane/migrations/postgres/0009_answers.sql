-- What the exchange that has a key was answered, where answers are kept: sealed under the
-- key of its subject, so that nobody can read it when that is erased.
ALTER TABLE idempotency_keys ADD COLUMN answer bytea;
ALTER TABLE idempotency_keys ADD COLUMN answer_subject_ref uuid;
