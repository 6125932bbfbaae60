-- Things that stand in a tree. Each read model of such things has these tables in its own schema.

-- name: create
CREATE TABLE things (
    tenant uuid NOT NULL,
    thing uuid NOT NULL,
    kind text NOT NULL,
    first_position bigint NOT NULL,
    at timestamptz NOT NULL,
    parent uuid,
    author uuid,
    by text,
    deleted boolean NOT NULL,
    erased boolean NOT NULL,
    votes integer NOT NULL,
    members uuid[] NOT NULL,
    said jsonb NOT NULL,
    PRIMARY KEY (tenant, thing),
    CHECK (author IS NULL OR by IS NOT DISTINCT FROM 'agent' OR NOT (deleted OR erased))
);
CREATE INDEX things_by_position ON things (tenant, first_position);
CREATE INDEX things_by_parent ON things (tenant, parent, first_position) WHERE parent IS NOT NULL;
CREATE INDEX things_by_author ON things (tenant, author, first_position) WHERE author IS NOT NULL;
CREATE INDEX things_by_member ON things USING gin (members) WHERE members <> '{}';
COMMENT ON TABLE things IS
    'One row is one thing in its place: a forum, a topic, a comment, an article, a company, a group, or what holds such
    things; its personal fields are in the table of seals.';
COMMENT ON COLUMN things.parent IS 'In what it stands. That may never have been opened.';
COMMENT ON COLUMN things.author IS 'Who wrote it; NULL if nobody said or the contact is forgotten. Agents stay.';
COMMENT ON COLUMN things.by IS 'contact or agent: what an agent wrote belongs to the desk. NULL where nobody writes.';
COMMENT ON COLUMN things.deleted IS 'It was deleted upstream, or what it stood in: its seals are gone.';
COMMENT ON COLUMN things.erased IS 'Its author or itself was shredded: its seals are gone, and it keeps its place.';
COMMENT ON COLUMN things.votes IS 'The sum of the votes for it and against it. Who voted is not kept.';
COMMENT ON COLUMN things.members IS 'The agents who belong to it, if it is a group.';
COMMENT ON COLUMN things.said IS 'Its numbers, times, flags and words, by the names that its record types declare.';

CREATE TABLE attachments (
    tenant uuid NOT NULL,
    thing uuid NOT NULL,
    position bigint NOT NULL,
    part uuid,
    at timestamptz NOT NULL,
    inline boolean,
    fields text[] NOT NULL,
    owners uuid[] NOT NULL,
    seal bigint,
    PRIMARY KEY (tenant, thing, position),
    CHECK (seal IS NOT NULL OR owners = '{}')
);
-- Statistics hold values, and outlive the rows: of whom a row names, none are gathered.
ALTER TABLE things ALTER COLUMN author SET STATISTICS 0;
ALTER TABLE attachments ALTER COLUMN owners SET STATISTICS 0;
COMMENT ON TABLE attachments IS 'One row is a file that came with a thing, with the seal of what is said of the file.';
COMMENT ON COLUMN attachments.part IS 'The inside id by which its content is found.';
COMMENT ON COLUMN attachments.seal IS
    'Where on the log it stands: the position of its fact, or NULL for shredded or deleted.';

-- name: load
SELECT t.tenant, t.thing, t.kind, t.first_position, t.at, t.parent, t.author, t.by, t.deleted, t.erased, t.votes,
    t.members, t.said
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, thing)
JOIN things t ON t.tenant = k.tenant AND t.thing = k.thing;

-- name: load_of_authors
-- Everything that some people wrote as contacts, who are about to be merged away or forgotten.
SELECT t.tenant, t.thing, t.kind, t.first_position, t.at, t.parent, t.author, t.by, t.deleted, t.erased, t.votes,
    t.members, t.said
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, author)
JOIN things t ON t.tenant = k.tenant AND t.author = k.author
WHERE t.by IS DISTINCT FROM 'agent';

-- name: load_of_members
-- Every group of some agents, who leave the team or turn out to be somebody else.
SELECT t.tenant, t.thing, t.kind, t.first_position, t.at, t.parent, t.author, t.by, t.deleted, t.erased, t.votes,
    t.members, t.said
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, member)
JOIN things t ON t.members @> ARRAY[k.member] AND t.members <> '{}' AND t.tenant = k.tenant;

-- name: load_beneath
-- Everything that stands beneath some things, however deep, and each once, so that a circle ends. What is deleted took
-- along all that stood beneath it.
WITH RECURSIVE beneath (tenant, thing) AS (
    SELECT t.tenant, t.thing
    FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, thing)
    JOIN things t ON t.tenant = k.tenant AND t.parent = k.thing AND NOT t.deleted
    UNION
    SELECT t.tenant, t.thing
    FROM beneath b
    JOIN things t ON t.tenant = b.tenant AND t.parent = b.thing AND NOT t.deleted
)
SELECT t.tenant, t.thing, t.kind, t.first_position, t.at, t.parent, t.author, t.by, t.deleted, t.erased, t.votes,
    t.members, t.said
FROM beneath b
JOIN things t ON t.tenant = b.tenant AND t.thing = b.thing;

-- name: load_attachments
-- The files of things that may go.
SELECT a.tenant, a.thing, a.position, a.part, a.at, a.inline, a.fields, a.owners, a.seal
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, thing)
JOIN attachments a ON a.tenant = k.tenant AND a.thing = k.thing;

-- name: store
INSERT INTO things (
    tenant, thing, kind, first_position, at, parent, author, by, deleted, erased, votes, members, said
)
SELECT tenant, thing, kind, first_position, at, parent, author, by, deleted, erased, votes, members::uuid[], said::jsonb
FROM unnest(
    %(tenant)b::uuid[], %(thing)b::uuid[], %(kind)b::text[], %(first_position)b::bigint[], %(at)b::timestamptz[],
    %(parent)b::uuid[], %(author)b::uuid[], %(by)b::text[], %(deleted)b::boolean[], %(erased)b::boolean[],
    %(votes)b::integer[], %(members)b::text[], %(said)b::text[]
) AS n (tenant, thing, kind, first_position, at, parent, author, by, deleted, erased, votes, members, said)
ON CONFLICT (tenant, thing) DO UPDATE SET
    parent = EXCLUDED.parent,
    author = EXCLUDED.author,
    by = EXCLUDED.by,
    deleted = EXCLUDED.deleted,
    erased = EXCLUDED.erased,
    votes = EXCLUDED.votes,
    members = EXCLUDED.members,
    said = EXCLUDED.said;

-- name: insert_attachments
INSERT INTO attachments (tenant, thing, position, part, at, inline, fields, owners, seal)
SELECT tenant, thing, position, part, at, inline, fields::text[], owners::uuid[], seal
FROM unnest(
    %(tenants)b::uuid[], %(things)b::uuid[], %(positions)b::bigint[], %(parts)b::uuid[], %(at)b::timestamptz[],
    %(inline)b::boolean[], %(fields)b::text[], %(owners)b::text[], %(seals)b::bigint[]
) AS n (tenant, thing, position, part, at, inline, fields, owners, seal);

-- name: blank_attachments
-- Files whose thing is gone, or that were deleted themselves.
UPDATE attachments a
SET owners = '{}', seal = NULL
FROM unnest(%(tenants)b::uuid[], %(things)b::uuid[], %(positions)b::bigint[]) AS n (tenant, thing, position)
WHERE a.tenant = n.tenant AND a.thing = n.thing AND a.position = n.position;

-- name: close_things
-- The tenant was closed: every thing is erased and keeps its place; of who wrote, agents stay.
UPDATE things SET erased = true, author = CASE WHEN by = 'agent' THEN author END
WHERE tenant = %(tenant)s AND NOT (erased AND (author IS NULL OR by IS NOT DISTINCT FROM 'agent'));

-- name: close_attachments
UPDATE attachments SET owners = '{}', seal = NULL WHERE tenant = %(tenant)s AND seal IS NOT NULL;

-- name: list
-- A page of things in the order in which they were recorded, with the seals that their personal fields read from. The
-- schema is that of the model.
SELECT t.thing, t.kind, t.first_position, t.at, t.parent, t.author, t.by, t.deleted, t.erased, t.votes, t.members,
    t.said, kept.fields, kept.seals
FROM {schema}.things t
LEFT JOIN LATERAL (
    SELECT array_agg(array_to_string(s.fields, ',') ORDER BY s.position) AS fields,
        array_agg(s.seal ORDER BY s.position) AS seals
    FROM {schema}.seals s
    WHERE s.tenant = t.tenant AND s.thing = t.thing
) AS kept ON true
WHERE t.tenant = %(tenant)s
    AND t.first_position > %(after)s
    AND (%(all)s OR NOT (t.deleted OR (t.erased AND NOT %(erased)s)))
    AND (%(kind)s::text IS NULL OR t.kind = %(kind)s)
    AND (%(thing)s::uuid IS NULL OR t.thing = %(thing)s)
    AND (%(parent)s::uuid IS NULL OR t.parent = %(parent)s)
    AND (%(thread)s::uuid IS NULL OR t.thing = %(thread)s OR t.parent = %(thread)s)
    AND (%(authors)s::uuid[] IS NULL OR t.author = ANY(%(authors)s))
    AND t.said @> %(said)s::jsonb
ORDER BY t.first_position
LIMIT %(limit)s;

-- name: list_attachments
-- The files of a page of things.
SELECT a.thing, a.position, a.part, a.at, a.inline, a.fields, a.seal
FROM {schema}.attachments a
WHERE a.tenant = %(tenant)s AND a.thing = ANY(%(things)s)
ORDER BY a.thing, a.position;
