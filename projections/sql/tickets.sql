-- Tickets, their conversations, and who has to do with them.

-- name: create
CREATE TABLE tickets (
    tenant uuid NOT NULL,
    ticket uuid NOT NULL,
    opened_on date NOT NULL,
    first_position bigint NOT NULL,
    opened_at timestamptz NOT NULL,
    status text NOT NULL,
    priority text NOT NULL,
    channel text,
    type text,
    "group" text,
    product text,
    requester uuid,
    responder uuid,
    spam boolean,
    due_by timestamptz,
    fr_due_by timestamptz,
    created_at timestamptz,
    updated_at timestamptz,
    deleted boolean NOT NULL,
    erased boolean NOT NULL,
    entries integer NOT NULL,
    first_response_at timestamptz,
    resolved_at timestamptz,
    rating smallint,
    copied uuid[] NOT NULL,
    PRIMARY KEY (tenant, ticket),
    CHECK (NOT erased OR (requester IS NULL AND copied = '{}'))
);
CREATE INDEX tickets_by_position ON tickets (tenant, first_position);
CREATE INDEX tickets_by_requester ON tickets (tenant, requester, first_position) WHERE requester IS NOT NULL;
COMMENT ON TABLE tickets IS 'One row is one ticket; its personal fields are in the table of seals.';
COMMENT ON COLUMN tickets.opened_on IS 'The day of opening, in UTC.';
COMMENT ON COLUMN tickets.requester IS 'Whose ticket it is; NULL once it is erased.';
COMMENT ON COLUMN tickets.responder IS 'The agent who is in charge. It stays when the agent is forgotten.';
COMMENT ON COLUMN tickets.copied IS 'Who is in copy. Somebody who is forgotten is not in it any more.';
COMMENT ON COLUMN tickets.erased IS 'The requester or the ticket was shredded: nothing personal is left to read.';
COMMENT ON COLUMN tickets.entries IS 'How many replies, notes and ratings there are.';

CREATE TABLE entries (
    tenant uuid NOT NULL,
    ticket uuid NOT NULL,
    position bigint NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    by text,
    author uuid,
    private boolean,
    incoming boolean,
    source text,
    rating smallint,
    fields text[] NOT NULL,
    owners uuid[] NOT NULL,
    seal bytea,
    PRIMARY KEY (tenant, ticket, position),
    CHECK (seal IS NOT NULL OR owners = '{}')
);
-- A seal is random bytes: compressing it is work for nothing.
ALTER TABLE entries ALTER COLUMN seal SET STORAGE EXTERNAL;
COMMENT ON TABLE entries IS 'One row is one reply, note or rating of a ticket, with its seal.';
COMMENT ON COLUMN entries.author IS 'Who wrote it; NULL if nobody said or the contact is forgotten. Agents stay.';
COMMENT ON COLUMN entries.fields IS 'The personal fields in the seal; none, if the fact had no seal.';
COMMENT ON COLUMN entries.owners IS 'With whom the seal dies: subjects, or a desk key. Empty once it is shredded.';
COMMENT ON COLUMN entries.seal IS 'The seal as it stands on the log, or NULL for shredded.';

CREATE TABLE involved (
    tenant uuid NOT NULL,
    subject uuid NOT NULL,
    ticket uuid NOT NULL,
    PRIMARY KEY (tenant, subject, ticket)
);
CREATE INDEX involved_by_ticket ON involved (tenant, ticket);
COMMENT ON TABLE involved IS
    'One row is a person who has, or had, to do with a ticket: as requester, owner of a seal, contact who wrote, or in
    copy. It says where to look when the person is forgotten, and goes then.';

-- name: load
SELECT t.tenant, t.ticket, t.first_position, t.opened_at, t.status, t.priority, t.channel, t.type, t."group",
    t.product, t.requester, t.responder, t.spam, t.due_by, t.fr_due_by, t.created_at, t.updated_at,
    t.deleted, t.erased, t.entries, t.first_response_at, t.resolved_at, t.rating, t.copied
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, ticket)
JOIN tickets t ON t.tenant = k.tenant AND t.ticket = k.ticket;

-- name: load_involved
-- Where some people, who are about to be merged away or forgotten, have left traces.
SELECT i.tenant, i.subject, i.ticket
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, subject)
JOIN involved i ON i.tenant = k.tenant AND i.subject = k.subject;

-- name: load_entries
-- The entries of tickets in which something may be blanked or get a further owner. The bytes of the seals stay here.
SELECT e.tenant, e.ticket, e.position, e.kind, e.at, e.by, e.author, e.private, e.incoming, e.source, e.rating,
    e.fields, e.owners, e.seal IS NULL
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, ticket)
JOIN entries e ON e.tenant = k.tenant AND e.ticket = k.ticket;

-- name: store
INSERT INTO tickets
SELECT tenant, ticket, opened_on, first_position, opened_at, status, priority, channel, type, "group", product,
    requester, responder, spam, due_by, fr_due_by, created_at, updated_at, deleted, erased, entries,
    first_response_at, resolved_at, rating, copied::uuid[]
FROM unnest(
    %(tenant)b::uuid[], %(ticket)b::uuid[], %(opened_on)b::date[], %(first_position)b::bigint[],
    %(opened_at)b::timestamptz[], %(status)b::text[], %(priority)b::text[], %(channel)b::text[], %(type)b::text[],
    %(group)b::text[], %(product)b::text[], %(requester)b::uuid[], %(responder)b::uuid[],
    %(spam)b::boolean[], %(due_by)b::timestamptz[], %(fr_due_by)b::timestamptz[], %(created_at)b::timestamptz[],
    %(updated_at)b::timestamptz[], %(deleted)b::boolean[], %(erased)b::boolean[], %(entries)b::integer[],
    %(first_response_at)b::timestamptz[], %(resolved_at)b::timestamptz[], %(rating)b::smallint[],
    %(copied)b::text[]
) AS n (
    tenant, ticket, opened_on, first_position, opened_at, status, priority, channel, type, "group", product,
    requester, responder, spam, due_by, fr_due_by, created_at, updated_at, deleted, erased, entries,
    first_response_at, resolved_at, rating, copied
)
ON CONFLICT (tenant, ticket) DO UPDATE SET
    status = EXCLUDED.status,
    priority = EXCLUDED.priority,
    channel = EXCLUDED.channel,
    type = EXCLUDED.type,
    "group" = EXCLUDED."group",
    product = EXCLUDED.product,
    requester = EXCLUDED.requester,
    responder = EXCLUDED.responder,
    copied = EXCLUDED.copied,
    spam = EXCLUDED.spam,
    due_by = EXCLUDED.due_by,
    fr_due_by = EXCLUDED.fr_due_by,
    created_at = EXCLUDED.created_at,
    updated_at = EXCLUDED.updated_at,
    deleted = EXCLUDED.deleted,
    erased = EXCLUDED.erased,
    entries = EXCLUDED.entries,
    first_response_at = EXCLUDED.first_response_at,
    resolved_at = EXCLUDED.resolved_at,
    rating = EXCLUDED.rating;

-- name: insert_entries
INSERT INTO entries (
    tenant, ticket, position, kind, at, by, author, private, incoming, source, rating, fields, owners, seal
)
SELECT tenant, ticket, position, kind, at, by, author, private, incoming, source, rating, fields::text[],
    owners::uuid[], seal
FROM unnest(
    %(tenants)b::uuid[], %(tickets)b::uuid[], %(positions)b::bigint[], %(kinds)b::text[], %(at)b::timestamptz[],
    %(by)b::text[], %(authors)b::uuid[], %(private)b::boolean[], %(incoming)b::boolean[], %(sources)b::text[],
    %(ratings)b::smallint[], %(fields)b::text[], %(owners)b::text[], %(seals)b::bytea[]
) AS n (
    tenant, ticket, position, kind, at, by, author, private, incoming, source, rating, fields, owners, seal
);

-- name: change_entries
-- An author is forgotten, a seal has a further owner, or it is shredded.
UPDATE entries e
SET author = n.author,
    owners = n.owners::uuid[],
    seal = CASE WHEN n.shredded THEN NULL ELSE e.seal END
FROM unnest(
    %(tenants)b::uuid[], %(tickets)b::uuid[], %(positions)b::bigint[], %(authors)b::uuid[], %(fields)b::text[],
    %(owners)b::text[], %(shredded)b::boolean[]
) AS n (tenant, ticket, position, author, fields, owners, shredded)
WHERE e.tenant = n.tenant AND e.ticket = n.ticket AND e.position = n.position;

-- name: involve
INSERT INTO involved (tenant, subject, ticket)
SELECT * FROM unnest(%(tenants)b::uuid[], %(subjects)b::uuid[], %(tickets)b::uuid[])
ON CONFLICT DO NOTHING;

-- name: forget_subjects
DELETE FROM involved i
USING unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS n (tenant, id)
WHERE i.tenant = n.tenant AND i.subject = n.id;

-- name: forget_tickets
DELETE FROM involved i
USING unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS n (tenant, id)
WHERE i.tenant = n.tenant AND i.ticket = n.id;

-- name: list
-- A page of tickets in the order in which they were recorded, with the seals that their personal fields read from.
SELECT
    t.ticket, t.first_position, t.opened_at, t.opened_on, t.status, t.priority, t.channel, t.type, t."group",
    t.product, t.requester, t.responder, t.spam, t.due_by, t.fr_due_by, t.created_at, t.updated_at,
    t.deleted, t.erased, t.entries, t.first_response_at, t.resolved_at, t.rating, t.copied,
    kept.fields, kept.seals
FROM tickets.tickets t
LEFT JOIN LATERAL (
    SELECT array_agg(array_to_string(s.fields, ',') ORDER BY s.position) AS fields,
        array_agg(s.seal ORDER BY s.position) AS seals
    FROM tickets.seals s
    WHERE s.tenant = t.tenant AND s.thing = t.ticket
) AS kept ON true
WHERE t.tenant = %(tenant)s
    AND t.first_position > %(after)s
    AND (%(all)s OR NOT (t.deleted OR t.erased))
    AND (%(ticket)s::uuid IS NULL OR t.ticket = %(ticket)s)
    AND (%(requester)s::uuid IS NULL OR t.requester = %(requester)s)
    AND (%(responder)s::uuid IS NULL OR t.responder = %(responder)s)
    AND (%(status)s::text IS NULL OR t.status = %(status)s)
    AND (%(priority)s::text IS NULL OR t.priority = %(priority)s)
    AND (%(channel)s::text IS NULL OR t.channel = %(channel)s)
    AND (%(type)s::text IS NULL OR t.type = %(type)s)
    AND (%(group)s::text IS NULL OR t."group" = %(group)s)
    AND (%(product)s::text IS NULL OR t.product = %(product)s)
    AND (%(opened_from)s::date IS NULL OR t.opened_on >= %(opened_from)s)
    AND (%(opened_until)s::date IS NULL OR t.opened_on <= %(opened_until)s)
ORDER BY t.first_position
LIMIT %(limit)s;

-- name: list_entries
-- The entries of a page of tickets.
SELECT e.ticket, e.position, e.kind, e.at, e.by, e.author, e.private, e.incoming, e.source, e.rating, e.fields, e.seal
FROM tickets.entries e
WHERE e.tenant = %(tenant)s AND e.ticket = ANY(%(tickets)s)
ORDER BY e.ticket, e.position;
