-- Where policies come from a Git repository: the commit that brought a text, and
-- the one a bundle was made of. NULL: they came another way.
ALTER TABLE policy_revisions ADD COLUMN commit_id TEXT;

ALTER TABLE bundle_activations ADD COLUMN commit_id TEXT;
