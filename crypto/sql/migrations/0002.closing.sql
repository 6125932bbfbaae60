-- A tenant can be closed: one row then answers for everything of it.

CREATE TABLE closings (
    tenant uuid PRIMARY KEY,
    shred uuid NOT NULL UNIQUE REFERENCES shreds,
    line bigint NOT NULL,
    mark bytea NOT NULL,
    closed_at timestamptz NOT NULL,
    pages uuid[] NOT NULL
);
COMMENT ON TABLE closings IS 'A row says that a tenant was closed, with the ledger line and a MAC: everything of it reads as shredded, and nothing new is sealed for it.';
COMMENT ON COLUMN closings.pages IS 'The register pages that went, until the ways back that lay on them are swept.';

ALTER TABLE shreds DROP CONSTRAINT shreds_kind_check;
ALTER TABLE shreds ADD CONSTRAINT shreds_kind_check CHECK (kind IN ('subject', 'thing', 'tenant'));
