-- Every read model that keeps seals or contacts has this table in its own schema.

-- name: create
CREATE TABLE shredded (
    tenant uuid NOT NULL,
    id uuid NOT NULL,
    shredded_on date NOT NULL,
    PRIMARY KEY (tenant, id)
);
COMMENT ON TABLE shredded IS
    'One row is a subject or thing that was shredded, so that a late fact about it folds as shredded. The id is
    random and leads nowhere: the register and the key have forgotten it.';

-- name: load
-- Which of these ids were shredded.
SELECT s.tenant, s.id, s.shredded_on
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, id)
JOIN shredded s ON s.tenant = k.tenant AND s.id = k.id;

-- name: insert
INSERT INTO shredded (tenant, id, shredded_on)
SELECT * FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[], %(days)b::date[]);
