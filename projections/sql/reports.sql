-- What is counted of tickets. No row names a contact, and none changes when somebody is forgotten.

-- name: create
CREATE TABLE tickets (
    tenant uuid NOT NULL,
    ticket uuid NOT NULL,
    opened_on date NOT NULL,
    opened_at timestamptz NOT NULL,
    status text NOT NULL,
    priority text NOT NULL,
    channel text,
    type text,
    "group" text,
    product text,
    agent uuid,
    first_response_seconds bigint,
    resolution_seconds bigint,
    resolved_at timestamptz,
    PRIMARY KEY (tenant, ticket)
);
COMMENT ON TABLE tickets IS
    'One row is what is counted of one ticket that was ever opened, deleted and erased ones included.';
COMMENT ON COLUMN tickets.opened_on IS 'The day of opening, in UTC.';
COMMENT ON COLUMN tickets.agent IS 'The agent in charge, last. It stays when the agent is forgotten.';
COMMENT ON COLUMN tickets.first_response_seconds IS 'From the opening to the earliest public reply by an agent.';
COMMENT ON COLUMN tickets.resolution_seconds IS 'From the opening to when it was last resolved or closed; NULL while open.';

CREATE TABLE ratings (
    tenant uuid NOT NULL,
    ticket uuid NOT NULL,
    position bigint NOT NULL,
    rating smallint NOT NULL,
    PRIMARY KEY (tenant, ticket, position)
);
COMMENT ON TABLE ratings IS 'One row is one rating of a ticket.';

-- name: load
SELECT t.tenant, t.ticket, t.opened_at, t.status, t.priority, t.channel, t.type, t."group", t.product, t.agent,
    t.first_response_seconds, t.resolved_at
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, ticket)
JOIN tickets t ON t.tenant = k.tenant AND t.ticket = k.ticket;

-- name: store
INSERT INTO tickets (
    tenant, ticket, opened_on, opened_at, status, priority, channel, type, "group", product, agent,
    first_response_seconds, resolution_seconds, resolved_at
)
SELECT * FROM unnest(
    %(tenant)b::uuid[], %(ticket)b::uuid[], %(opened_on)b::date[], %(opened_at)b::timestamptz[], %(status)b::text[],
    %(priority)b::text[], %(channel)b::text[], %(type)b::text[], %(group)b::text[], %(product)b::text[],
    %(agent)b::uuid[], %(first_response_seconds)b::bigint[], %(resolution_seconds)b::bigint[],
    %(resolved_at)b::timestamptz[]
)
ON CONFLICT (tenant, ticket) DO UPDATE SET
    status = EXCLUDED.status,
    priority = EXCLUDED.priority,
    channel = EXCLUDED.channel,
    type = EXCLUDED.type,
    "group" = EXCLUDED."group",
    product = EXCLUDED.product,
    agent = EXCLUDED.agent,
    first_response_seconds = EXCLUDED.first_response_seconds,
    resolution_seconds = EXCLUDED.resolution_seconds,
    resolved_at = EXCLUDED.resolved_at;

-- name: rate
INSERT INTO ratings (tenant, ticket, position, rating)
SELECT * FROM unnest(%(tenants)b::uuid[], %(tickets)b::uuid[], %(positions)b::bigint[], %(ratings)b::smallint[]);

-- name: summaries
-- All summaries in one statement, so that they are of one moment: (section, dimension, value, count, negative, mean,
-- median, p90). A ticket stands once under each dimension; `total` has no value.
WITH counted AS (
    SELECT d.dimension, coalesce(d.value, %(none)s) AS value, t.first_response_seconds, t.resolution_seconds
    FROM reports.tickets t
    CROSS JOIN LATERAL (
        VALUES
            ('total', ''), ('opened_on', t.opened_on::text), ('status', t.status), ('priority', t.priority),
            ('channel', t.channel), ('type', t.type), ('group', t."group"), ('product', t.product),
            ('agent', t.agent::text)
    ) AS d (dimension, value)
    WHERE t.tenant = %(tenant)s
),
durations AS (
    SELECT d.section, c.dimension, c.value, d.seconds
    FROM counted c
    CROSS JOIN LATERAL (
        VALUES ('first_response', c.first_response_seconds), ('resolution', c.resolution_seconds)
    ) AS d (section, seconds)
    WHERE c.dimension IN ('total', 'priority', 'channel') AND d.seconds IS NOT NULL
),
rated AS (
    SELECT rating FROM reports.ratings WHERE tenant = %(tenant)s
)
SELECT 'tickets', dimension, value, count(*), 0::bigint, NULL::numeric, NULL::float8, NULL::float8
FROM counted
GROUP BY dimension, value
UNION ALL
SELECT section, dimension, value, count(*), count(*) FILTER (WHERE seconds < 0),
    avg(seconds) FILTER (WHERE seconds >= 0),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE seconds >= 0),
    percentile_cont(0.9) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE seconds >= 0)
FROM durations
GROUP BY section, dimension, value
UNION ALL
SELECT 'ratings', 'value', rating::text, count(*), 0, NULL, NULL, NULL FROM rated GROUP BY rating
UNION ALL
SELECT 'ratings', 'total', '', count(*), 0, avg(rating), NULL, NULL FROM rated;
