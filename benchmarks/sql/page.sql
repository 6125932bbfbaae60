-- The read model of tickets with its texts in clear: the same rows, and in place of seals what they hold, as JSON.

-- name: create#
CREATE SCHEMA clear;
CREATE TABLE clear.tickets AS SELECT t.*, '{}'::jsonb AS said FROM tickets.tickets AS t;
ALTER TABLE clear.tickets ADD PRIMARY KEY (tenant, ticket);
CREATE INDEX ON clear.tickets (tenant, first_position);
CREATE TABLE clear.entries AS
SELECT tenant, ticket, position, kind, at, by, author, private, incoming, source, rating, part, within, seconds,
    discussion, billable, edited_at, deleted, '{}'::jsonb AS said
FROM tickets.entries;
ALTER TABLE clear.entries ADD PRIMARY KEY (tenant, ticket, position);

-- name: fill_tickets!
UPDATE clear.tickets AS t SET said = n.said::jsonb
FROM unnest(%(tickets)s::uuid[], %(said)s::text[]) AS n (ticket, said)
WHERE t.ticket = n.ticket;

-- name: fill_entries!
UPDATE clear.entries AS e SET said = n.said::jsonb
FROM unnest(%(parts)s::uuid[], %(said)s::text[]) AS n (part, said)
WHERE e.part = n.part;

-- name: list
SELECT ticket, kind, opened_at, opened_on, status, priority, channel, type, "group", product, requester, responder, spam,
    due_by, fr_due_by, created_at, updated_at, deleted, deleted_at, purge_asked_at, erased, entries, first_response_at,
    resolved_at, rating, merged_into, coalesce(words, '{}') AS words, copied, said
FROM clear.tickets
WHERE tenant = %(tenant)s AND first_position > %(after)s AND kind = 'ticket'
    AND NOT (deleted OR erased OR merged_into IS NOT NULL)
ORDER BY first_position
LIMIT %(limit)s;

-- name: list_entries
SELECT ticket, author, kind, at, by, private, incoming, source, rating, part, within, seconds, discussion, billable,
    edited_at, deleted, said
FROM clear.entries
WHERE tenant = %(tenant)s AND ticket = ANY(%(tickets)s) AND NOT deleted
ORDER BY ticket, position;
