-- A tenant can be closed. Its name stays, so that nobody opens it again by mistake.

ALTER TABLE tenants ADD COLUMN closed_at timestamptz;
COMMENT ON COLUMN tenants.closed_at IS 'When it was closed. What counts is the row of the key database; this one is for lists.';
