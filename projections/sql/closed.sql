-- Every read model has this table in its own schema.

-- name: create
CREATE TABLE closed (
    tenant uuid PRIMARY KEY,
    closed_on date NOT NULL
);
COMMENT ON TABLE closed IS 'One row is a tenant that was closed, so that what comes late of it folds as shredded.';

-- name: exists
SELECT to_regclass(%(table)s) IS NOT NULL;

-- name: load
SELECT tenant, closed_on FROM closed WHERE tenant = ANY(%(tenants)b::uuid[]);

-- name: insert
INSERT INTO closed (tenant, closed_on) VALUES (%(tenant)s, %(on)s);
