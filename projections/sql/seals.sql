-- Read models whose rows hold personal fields (contacts, tickets) have this table in their own schema.

-- name: create
CREATE TABLE seals (
    tenant uuid NOT NULL,
    thing uuid NOT NULL,
    position bigint NOT NULL,
    fields text[] NOT NULL CHECK (fields <> '{}'),
    owners uuid[] NOT NULL,
    seal bigint,
    PRIMARY KEY (tenant, thing, position),
    CHECK (seal IS NOT NULL OR owners = '{}')
);
-- Statistics hold values, and outlive the rows: of whom a row names, none are gathered.
ALTER TABLE seals ALTER COLUMN owners SET STATISTICS 0;
COMMENT ON TABLE seals IS 'One row is the seal of one fact, as long as a personal field of its thing reads from it.';
COMMENT ON COLUMN seals.fields IS 'The personal fields that still read from this seal; later facts gave the others.';
COMMENT ON COLUMN seals.owners IS 'With whom the seal dies: subjects, or a desk key. Empty once it is shredded.';
COMMENT ON COLUMN seals.seal IS 'Where on the log it stands: the position of its fact, or NULL for shredded.';

-- name: load
-- What is kept of the seals of some things.
SELECT s.tenant, s.thing, s.position, s.fields, s.owners, s.seal
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, thing)
JOIN seals s ON s.tenant = k.tenant AND s.thing = k.thing;

-- name: insert
INSERT INTO seals (tenant, thing, position, fields, owners, seal)
SELECT tenant, thing, position, fields::text[], owners::uuid[], seal
FROM unnest(
    %(tenants)b::uuid[], %(things)b::uuid[], %(positions)b::bigint[],
    %(fields)b::text[], %(owners)b::text[], %(seals)b::bigint[]
) AS n (tenant, thing, position, fields, owners, seal);

-- name: change
-- Some of its fields come from a later fact now, it has a further owner, or it is shredded.
UPDATE seals s
SET fields = n.fields::text[],
    owners = n.owners::uuid[],
    seal = n.seal
FROM unnest(
    %(tenants)b::uuid[], %(things)b::uuid[], %(positions)b::bigint[],
    %(fields)b::text[], %(owners)b::text[], %(seals)b::bigint[]
) AS n (tenant, thing, position, fields, owners, seal)
WHERE s.tenant = n.tenant AND s.thing = n.thing AND s.position = n.position;

-- name: blank
-- These things were erased whole.
UPDATE seals s SET owners = '{}', seal = NULL
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS n (tenant, thing)
WHERE s.tenant = n.tenant AND s.thing = n.thing AND s.seal IS NOT NULL;

-- name: drop
-- No field reads from it any more.
DELETE FROM seals s
USING unnest(%(tenants)b::uuid[], %(things)b::uuid[], %(positions)b::bigint[]) AS n (tenant, thing, position)
WHERE s.tenant = n.tenant AND s.thing = n.thing AND s.position = n.position;

-- name: close
-- The tenant was closed: nothing of it opens any more.
UPDATE seals SET owners = '{}', seal = NULL WHERE tenant = %(tenant)s AND seal IS NOT NULL;
