-- Tickets, calls and chats, their conversations, and who has to do with them.

-- name: create
CREATE TABLE tickets (
    tenant uuid NOT NULL,
    ticket uuid NOT NULL,
    opened_on date NOT NULL,
    kind text NOT NULL,
    first_position bigint NOT NULL,
    opened_at timestamptz NOT NULL,
    status text,
    priority text,
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
    parent uuid,
    merged_into uuid,
    deleted_at timestamptz,
    purge_asked_at timestamptz,
    direction text,
    duration_seconds integer,
    ended_at timestamptz,
    words jsonb,
    copied uuid[] NOT NULL,
    PRIMARY KEY (tenant, ticket),
    CHECK (NOT erased OR (requester IS NULL AND copied = '{}' AND purge_asked_at IS NULL))
);
CREATE INDEX tickets_by_position ON tickets (tenant, first_position);
CREATE INDEX tickets_by_requester ON tickets (tenant, requester, first_position) WHERE requester IS NOT NULL;
CREATE INDEX tickets_by_responder ON tickets (tenant, responder) WHERE responder IS NOT NULL;
CREATE INDEX tickets_to_purge ON tickets (tenant, first_position)
    WHERE NOT erased AND (deleted OR purge_asked_at IS NOT NULL);
COMMENT ON TABLE tickets IS 'One row is one ticket, call or chat; its personal fields are in the table of seals.';
COMMENT ON COLUMN tickets.kind IS 'What it is: ticket, call or chat.';
COMMENT ON COLUMN tickets.opened_on IS 'The day of opening, in UTC.';
COMMENT ON COLUMN tickets.status IS 'NULL for a call or chat, as is the priority.';
COMMENT ON COLUMN tickets.requester IS 'Whose it is; NULL once it is erased, and for a call or chat of nobody known.';
COMMENT ON COLUMN tickets.responder IS
    'The agent who is in charge. It stays when the agent is forgotten, and goes when the agent leaves the team.';
COMMENT ON COLUMN tickets.parent IS 'The ticket that a call or chat belongs to. It may never have been opened.';
COMMENT ON COLUMN tickets.merged_into IS 'The ticket that this one was merged into.';
COMMENT ON COLUMN tickets.purge_asked_at IS 'When upstream asked that it be gone for good; NULL once it is.';
COMMENT ON COLUMN tickets.words IS 'The words of custom fields, by vocabulary; NULL for none.';
COMMENT ON COLUMN tickets.copied IS 'Who is in copy. Somebody who is forgotten is not in it any more.';
COMMENT ON COLUMN tickets.erased IS 'The requester or the ticket was shredded: nothing personal is left to read.';
COMMENT ON COLUMN tickets.entries IS 'How many entries there ever were, deleted ones included.';

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
    part uuid,
    within uuid,
    seconds integer,
    discussion text,
    billable boolean,
    edited_at timestamptz,
    deleted boolean NOT NULL,
    fields text[] NOT NULL,
    owners uuid[] NOT NULL,
    seal bigint,
    PRIMARY KEY (tenant, ticket, position),
    CHECK (seal IS NOT NULL OR owners = '{}')
);
-- Statistics hold values, and outlive the rows: of whom a row names, none are gathered.
ALTER TABLE tickets ALTER COLUMN requester SET STATISTICS 0, ALTER COLUMN copied SET STATISTICS 0;
ALTER TABLE entries ALTER COLUMN author SET STATISTICS 0, ALTER COLUMN owners SET STATISTICS 0;
COMMENT ON TABLE entries IS
    'One row is one entry of a ticket, call or chat, with its seal: a reply, a note, a message, a file, a rating.';
COMMENT ON COLUMN entries.position IS 'Of the fact that made the entry. The seal may be that of a later edit.';
COMMENT ON COLUMN entries.part IS 'The inside id by which later facts find the entry.';
COMMENT ON COLUMN entries.within IS 'The part in which it hangs: the discussion of a message, the reply of a file.';
COMMENT ON COLUMN entries.deleted IS 'It was deleted upstream: its seal is gone, and the row stays for the counts.';
COMMENT ON COLUMN entries.author IS 'Who wrote it; NULL if nobody said or the contact is forgotten. Agents stay.';
COMMENT ON COLUMN entries.fields IS 'The personal fields in the seal; none, if the fact had no seal.';
COMMENT ON COLUMN entries.owners IS 'With whom the seal dies: subjects, or a desk key. Empty once it is shredded.';
COMMENT ON COLUMN entries.seal IS
    'Where on the log it stands: the position of its fact, or NULL for shredded.';

CREATE TABLE ended (
    tenant uuid NOT NULL,
    part uuid NOT NULL,
    PRIMARY KEY (tenant, part)
);
COMMENT ON TABLE ended IS
    'One row is a part of a ticket that was deleted, so that what comes late of it, or within it, folds as deleted.';

CREATE TABLE involved (
    tenant uuid NOT NULL,
    subject uuid NOT NULL,
    ticket uuid NOT NULL,
    PRIMARY KEY (tenant, subject, ticket)
);
CREATE INDEX involved_by_ticket ON involved (tenant, ticket);
ALTER TABLE involved ALTER COLUMN subject SET STATISTICS 0;
COMMENT ON TABLE involved IS
    'One row is a person who has, or had, to do with a ticket: as requester, owner of a seal, contact who wrote, or in
    copy. It says where to look when the person is forgotten, and goes then.';

-- name: load
SELECT t.tenant, t.ticket, t.kind, t.first_position, t.opened_at, t.status, t.priority, t.channel, t.type, t."group",
    t.product, t.requester, t.responder, t.spam, t.due_by, t.fr_due_by, t.created_at, t.updated_at,
    t.deleted, t.erased, t.entries, t.first_response_at, t.resolved_at, t.rating, t.parent, t.merged_into,
    t.deleted_at, t.purge_asked_at, t.direction, t.duration_seconds, t.ended_at, t.words, t.copied
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, ticket)
JOIN tickets t ON t.tenant = k.tenant AND t.ticket = k.ticket;

-- name: of_requesters
-- All tickets of some people, who are about to be forgotten.
SELECT t.tenant, t.ticket
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, requester)
JOIN tickets t ON t.tenant = k.tenant AND t.requester = k.requester;

-- name: load_involved
-- Where some people, who are about to be merged away or forgotten, have left traces.
SELECT i.tenant, i.subject, i.ticket
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, subject)
JOIN involved i ON i.tenant = k.tenant AND i.subject = k.subject;

-- name: load_ended
-- Which of these parts were deleted.
SELECT e.tenant, e.part
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, part)
JOIN ended e ON e.tenant = k.tenant AND e.part = k.part;

-- name: load_entries
-- The entries of tickets in which one may be blanked, written anew or get a further owner.
SELECT e.tenant, e.ticket, e.position, e.kind, e.at, e.by, e.author, e.private, e.incoming, e.source, e.rating,
    e.part, e.within, e.seconds, e.discussion, e.billable, e.edited_at, e.deleted, e.fields, e.owners, e.seal
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, ticket)
JOIN entries e ON e.tenant = k.tenant AND e.ticket = k.ticket;

-- name: hand_over
-- Tickets that the page does not hold: an agent left the team, or turned out to be somebody else.
UPDATE tickets t
SET responder = n.successor
FROM unnest(%(tenants)b::uuid[], %(agents)b::uuid[], %(successors)b::uuid[]) AS n (tenant, agent, successor)
WHERE t.tenant = n.tenant AND t.responder = n.agent;

-- name: store
INSERT INTO tickets
SELECT tenant, ticket, opened_on, kind, first_position, opened_at, status, priority, channel, type, "group", product,
    requester, responder, spam, due_by, fr_due_by, created_at, updated_at, deleted, erased, entries,
    first_response_at, resolved_at, rating, parent, merged_into, deleted_at, purge_asked_at, direction,
    duration_seconds, ended_at, words::jsonb, copied::uuid[]
FROM unnest(
    %(tenant)b::uuid[], %(ticket)b::uuid[], %(opened_on)b::date[], %(kind)b::text[], %(first_position)b::bigint[],
    %(opened_at)b::timestamptz[], %(status)b::text[], %(priority)b::text[], %(channel)b::text[], %(type)b::text[],
    %(group)b::text[], %(product)b::text[], %(requester)b::uuid[], %(responder)b::uuid[],
    %(spam)b::boolean[], %(due_by)b::timestamptz[], %(fr_due_by)b::timestamptz[], %(created_at)b::timestamptz[],
    %(updated_at)b::timestamptz[], %(deleted)b::boolean[], %(erased)b::boolean[], %(entries)b::integer[],
    %(first_response_at)b::timestamptz[], %(resolved_at)b::timestamptz[], %(rating)b::smallint[],
    %(parent)b::uuid[], %(merged_into)b::uuid[], %(deleted_at)b::timestamptz[], %(purge_asked_at)b::timestamptz[],
    %(direction)b::text[], %(duration_seconds)b::integer[], %(ended_at)b::timestamptz[], %(words)b::text[],
    %(copied)b::text[]
) AS n (
    tenant, ticket, opened_on, kind, first_position, opened_at, status, priority, channel, type, "group", product,
    requester, responder, spam, due_by, fr_due_by, created_at, updated_at, deleted, erased, entries,
    first_response_at, resolved_at, rating, parent, merged_into, deleted_at, purge_asked_at, direction,
    duration_seconds, ended_at, words, copied
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
    rating = EXCLUDED.rating,
    parent = EXCLUDED.parent,
    merged_into = EXCLUDED.merged_into,
    deleted_at = EXCLUDED.deleted_at,
    purge_asked_at = EXCLUDED.purge_asked_at,
    direction = EXCLUDED.direction,
    duration_seconds = EXCLUDED.duration_seconds,
    ended_at = EXCLUDED.ended_at,
    words = EXCLUDED.words;

-- name: insert_entries
INSERT INTO entries (
    tenant, ticket, position, kind, at, by, author, private, incoming, source, rating, part, within, seconds,
    discussion, billable, edited_at, deleted, fields, owners, seal
)
SELECT tenant, ticket, position, kind, at, by, author, private, incoming, source, rating, part, within, seconds,
    discussion, billable, edited_at, deleted, fields::text[], owners::uuid[], seal
FROM unnest(
    %(tenants)b::uuid[], %(tickets)b::uuid[], %(positions)b::bigint[], %(kind)b::text[], %(at)b::timestamptz[],
    %(by)b::text[], %(author)b::uuid[], %(private)b::boolean[], %(incoming)b::boolean[], %(source)b::text[],
    %(rating)b::smallint[], %(part)b::uuid[], %(within)b::uuid[], %(seconds)b::integer[], %(discussion)b::text[],
    %(billable)b::boolean[], %(edited_at)b::timestamptz[], %(deleted)b::boolean[], %(fields)b::text[],
    %(owners)b::text[], %(seals)b::bigint[]
) AS n (
    tenant, ticket, position, kind, at, by, author, private, incoming, source, rating, part, within, seconds,
    discussion, billable, edited_at, deleted, fields, owners, seal
);

-- name: change_entries
-- An author is forgotten, a seal has a further owner, or the entry was shredded, deleted or written anew.
UPDATE entries e
SET by = n.by,
    author = n.author,
    private = n.private,
    incoming = n.incoming,
    source = n.source,
    edited_at = n.edited_at,
    deleted = n.deleted,
    fields = n.fields::text[],
    owners = n.owners::uuid[],
    seal = n.seal
FROM unnest(
    %(tenants)b::uuid[], %(tickets)b::uuid[], %(positions)b::bigint[], %(by)b::text[], %(authors)b::uuid[],
    %(private)b::boolean[], %(incoming)b::boolean[], %(sources)b::text[], %(edited_at)b::timestamptz[],
    %(deleted)b::boolean[], %(fields)b::text[], %(owners)b::text[], %(seals)b::bigint[]
) AS n (
    tenant, ticket, position, by, author, private, incoming, source, edited_at, deleted, fields, owners, seal
)
WHERE e.tenant = n.tenant AND e.ticket = n.ticket AND e.position = n.position;

-- name: erase
-- Tickets that went with their requester: what can be counted stays.
UPDATE tickets t
SET erased = true,
    requester = NULL,
    copied = '{}',
    purge_asked_at = NULL
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS n (tenant, id)
WHERE t.tenant = n.tenant AND t.ticket = n.id;

-- name: blank_entries
-- The entries of tickets that were erased: of whoever wrote, agents stay.
UPDATE entries e
SET owners = '{}',
    seal = NULL,
    author = CASE WHEN e.by = 'agent' THEN e.author END
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS n (tenant, ticket)
WHERE e.tenant = n.tenant AND e.ticket = n.ticket
    AND (e.seal IS NOT NULL OR (e.author IS NOT NULL AND e.by IS DISTINCT FROM 'agent'));

-- name: end
INSERT INTO ended (tenant, part)
SELECT * FROM unnest(%(tenants)b::uuid[], %(parts)b::uuid[])
ON CONFLICT DO NOTHING;

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
    t.ticket, t.kind, t.first_position, t.opened_at, t.opened_on, t.status, t.priority, t.channel, t.type, t."group",
    t.product, t.requester, t.responder, t.spam, t.due_by, t.fr_due_by, t.created_at, t.updated_at,
    t.deleted, t.erased, t.entries, t.first_response_at, t.resolved_at, t.rating, t.parent, t.merged_into,
    t.deleted_at, t.purge_asked_at, t.direction, t.duration_seconds, t.ended_at, t.words, t.copied,
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
    AND (%(all)s OR NOT (t.deleted OR t.erased OR t.merged_into IS NOT NULL))
    AND (%(kind)s::text IS NULL OR t.kind = %(kind)s)
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
SELECT e.ticket, e.position, e.kind, e.at, e.by, e.author, e.private, e.incoming, e.source, e.rating, e.part, e.within,
    e.seconds, e.discussion, e.billable, e.edited_at, e.deleted, e.fields, e.seal
FROM tickets.entries e
WHERE e.tenant = %(tenant)s AND e.ticket = ANY(%(tickets)s)
ORDER BY e.ticket, e.position;

-- name: purgeable
-- What may go for good: out of the trash, or because upstream asked.
SELECT t.ticket
FROM tickets.tickets t
WHERE t.tenant = %(tenant)s
    AND NOT t.erased
    AND (t.deleted OR t.purge_asked_at IS NOT NULL)
    AND ((t.deleted AND t.deleted_at <= %(trashed_before)s::timestamptz)
        OR (%(asked)s AND t.purge_asked_at IS NOT NULL))
ORDER BY t.first_position;

-- name: close_tickets
-- The tenant was closed: every ticket, call and chat is erased and counts.
UPDATE tickets SET erased = true, requester = NULL, copied = '{}', purge_asked_at = NULL
WHERE tenant = %(tenant)s
    AND NOT (erased AND requester IS NULL AND copied = '{}' AND purge_asked_at IS NULL);

-- name: close_entries
UPDATE entries SET owners = '{}', seal = NULL, author = CASE WHEN by = 'agent' THEN author END
WHERE tenant = %(tenant)s AND (seal IS NOT NULL OR (author IS NOT NULL AND by IS DISTINCT FROM 'agent'));

-- name: close_involved
DELETE FROM involved WHERE tenant = %(tenant)s;
