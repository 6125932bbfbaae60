-- How much was forgotten, and when.

-- name: create
CREATE TABLE days (
    tenant uuid NOT NULL,
    day date NOT NULL,
    subjects bigint NOT NULL,
    things bigint NOT NULL,
    tickets bigint NOT NULL,
    open_tickets bigint NOT NULL,
    PRIMARY KEY (tenant, day)
);
COMMENT ON TABLE days IS 'One row is what was erased on one day, in UTC.';
COMMENT ON COLUMN days.subjects IS 'People; whoever was merged into another counts as one with that one.';
COMMENT ON COLUMN days.things IS 'Things that were purged one by one: tickets, calls, chats, whatever else.';
COMMENT ON COLUMN days.tickets IS 'Tickets that were erased with their requester, or purged.';
COMMENT ON COLUMN days.open_tickets IS 'How many of these tickets were neither resolved nor closed then.';

CREATE TABLE tickets (
    tenant uuid NOT NULL,
    ticket uuid NOT NULL,
    requester uuid,
    status text NOT NULL,
    erased boolean NOT NULL,
    PRIMARY KEY (tenant, ticket),
    CHECK (NOT erased OR requester IS NULL)
);
CREATE INDEX tickets_by_requester ON tickets (tenant, requester) WHERE requester IS NOT NULL;
-- Statistics hold values, and outlive the rows: of whom a row names, none are gathered.
ALTER TABLE tickets ALTER COLUMN requester SET STATISTICS 0;
COMMENT ON TABLE tickets IS 'One row is one ticket and whose it is, as long as that may be known.';

-- name: load
SELECT t.tenant, t.ticket, t.requester, t.status, t.erased
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, ticket)
JOIN tickets t ON t.tenant = k.tenant AND t.ticket = k.ticket;

-- name: load_of_requesters
-- All tickets of some people, who are about to be merged away or forgotten.
SELECT t.tenant, t.ticket, t.requester, t.status, t.erased
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, requester)
JOIN tickets t ON t.tenant = k.tenant AND t.requester = k.requester;

-- name: store
INSERT INTO tickets (tenant, ticket, requester, status, erased)
SELECT * FROM unnest(
    %(tenants)b::uuid[], %(tickets)b::uuid[], %(requesters)b::uuid[], %(statuses)b::text[], %(erased)b::boolean[]
)
ON CONFLICT (tenant, ticket) DO UPDATE SET
    requester = EXCLUDED.requester,
    status = EXCLUDED.status,
    erased = EXCLUDED.erased;

-- name: count
INSERT INTO days (tenant, day, subjects, things, tickets, open_tickets)
SELECT * FROM unnest(
    %(tenants)b::uuid[], %(days)b::date[], %(subjects)b::bigint[], %(things)b::bigint[], %(tickets)b::bigint[],
    %(open_tickets)b::bigint[]
)
ON CONFLICT (tenant, day) DO UPDATE SET
    subjects = days.subjects + EXCLUDED.subjects,
    things = days.things + EXCLUDED.things,
    tickets = days.tickets + EXCLUDED.tickets,
    open_tickets = days.open_tickets + EXCLUDED.open_tickets;

-- name: summaries
-- One row a day, and one without a day: how many tickets that still count as open are erased.
SELECT d.day, d.subjects, d.things, d.tickets, d.open_tickets
FROM erasures.days d
WHERE d.tenant = %(tenant)s
UNION ALL
SELECT NULL, 0, 0, 0, count(*)
FROM erasures.tickets t
WHERE t.tenant = %(tenant)s AND t.erased AND t.status <> ALL (ARRAY['resolved', 'closed'])
ORDER BY 1 NULLS LAST;

-- name: close
-- The tenant was closed: the tickets that were left are erased, on that day.
WITH gone AS (
    UPDATE tickets SET erased = true, requester = NULL WHERE tenant = %(tenant)s AND NOT erased RETURNING status
)
INSERT INTO days (tenant, day, subjects, things, tickets, open_tickets)
SELECT %(tenant)s, %(on)s, 0, 0, count(*), count(*) FILTER (WHERE status <> ALL (ARRAY['resolved', 'closed']))
FROM gone HAVING count(*) > 0
ON CONFLICT (tenant, day) DO UPDATE SET
    tickets = days.tickets + EXCLUDED.tickets,
    open_tickets = days.open_tickets + EXCLUDED.open_tickets;
