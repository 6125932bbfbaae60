-- Up to where a loss was accepted, what stands on the log is all that tells who is whose.

ALTER TABLE accepted_losses ADD COLUMN position bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN accepted_losses.position IS 'The head of the log then. Facts up to here whose keys are lost still say what was merged, moved and ended.';
