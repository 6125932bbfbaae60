-- What is counted of tickets, and of everything else that is done. No row names a contact, and none changes when
-- somebody is forgotten.

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
    words jsonb,
    PRIMARY KEY (tenant, ticket)
);
COMMENT ON TABLE tickets IS
    'One row is what is counted of one ticket that was ever opened, deleted and erased ones included.';
COMMENT ON COLUMN tickets.opened_on IS 'The day of opening, in UTC.';
COMMENT ON COLUMN tickets.agent IS 'The agent in charge, last. It stays when the agent is forgotten.';
COMMENT ON COLUMN tickets.first_response_seconds IS 'From the opening to the earliest public reply by an agent.';
COMMENT ON COLUMN tickets.resolution_seconds IS 'From the opening to when it was last resolved or closed; NULL while open.';
COMMENT ON COLUMN tickets.words IS 'The words of custom fields, by vocabulary; NULL for none.';

CREATE TABLE ratings (
    tenant uuid NOT NULL,
    ticket uuid NOT NULL,
    position bigint NOT NULL,
    rating smallint NOT NULL,
    PRIMARY KEY (tenant, ticket, position)
);
COMMENT ON TABLE ratings IS 'One row is one rating of a ticket.';

CREATE TABLE activity (
    tenant uuid NOT NULL,
    day date NOT NULL,
    kind text NOT NULL,
    by text NOT NULL,
    count bigint NOT NULL,
    seconds bigint NOT NULL,
    PRIMARY KEY (tenant, day, kind, by)
);
COMMENT ON TABLE activity IS
    'One row is how often something was done on one day, in UTC. It never goes down: what is deleted was done.';
COMMENT ON COLUMN activity.kind IS 'What was done: a reply, a call, a vote, a consent that was given.';
COMMENT ON COLUMN activity.by IS 'Whether by a requester, an agent or another contact; none, if nobody said.';
COMMENT ON COLUMN activity.seconds IS 'How long calls took, and how much time was logged; 0 for all else.';

-- name: load
SELECT t.tenant, t.ticket, t.opened_at, t.status, t.priority, t.channel, t.type, t."group", t.product, t.agent,
    t.first_response_seconds, t.resolved_at, t.words
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, ticket)
JOIN tickets t ON t.tenant = k.tenant AND t.ticket = k.ticket;

-- name: store
INSERT INTO tickets (
    tenant, ticket, opened_on, opened_at, status, priority, channel, type, "group", product, agent,
    first_response_seconds, resolution_seconds, resolved_at, words
)
SELECT tenant, ticket, opened_on, opened_at, status, priority, channel, type, "group", product, agent,
    first_response_seconds, resolution_seconds, resolved_at, words::jsonb
FROM unnest(
    %(tenant)b::uuid[], %(ticket)b::uuid[], %(opened_on)b::date[], %(opened_at)b::timestamptz[], %(status)b::text[],
    %(priority)b::text[], %(channel)b::text[], %(type)b::text[], %(group)b::text[], %(product)b::text[],
    %(agent)b::uuid[], %(first_response_seconds)b::bigint[], %(resolution_seconds)b::bigint[],
    %(resolved_at)b::timestamptz[], %(words)b::text[]
) AS n (
    tenant, ticket, opened_on, opened_at, status, priority, channel, type, "group", product, agent,
    first_response_seconds, resolution_seconds, resolved_at, words
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
    resolved_at = EXCLUDED.resolved_at,
    words = EXCLUDED.words;

-- name: rate
INSERT INTO ratings (tenant, ticket, position, rating)
SELECT * FROM unnest(%(tenants)b::uuid[], %(tickets)b::uuid[], %(positions)b::bigint[], %(ratings)b::smallint[]);

-- name: act
INSERT INTO activity (tenant, day, kind, by, count, seconds)
SELECT * FROM unnest(
    %(tenants)b::uuid[], %(days)b::date[], %(kinds)b::text[], %(by)b::text[], %(counts)b::bigint[],
    %(seconds)b::bigint[]
)
ON CONFLICT (tenant, day, kind, by) DO UPDATE SET
    count = activity.count + EXCLUDED.count,
    seconds = activity.seconds + EXCLUDED.seconds;

-- name: summaries
-- All summaries in one statement, so that they are of one moment: (section, dimension, value, count, negative, mean,
-- median, p90, seconds). A ticket stands once under each dimension and each vocabulary; `total` has no value.
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
vocabularies AS (
    SELECT DISTINCT w.vocabulary
    FROM reports.tickets t
    CROSS JOIN LATERAL jsonb_object_keys(t.words) AS w (vocabulary)
    WHERE t.tenant = %(tenant)s
),
rated AS (
    SELECT rating FROM reports.ratings WHERE tenant = %(tenant)s
)
SELECT 'tickets', dimension, value, count(*), 0::bigint, NULL::numeric, NULL::float8, NULL::float8, 0::bigint
FROM counted
GROUP BY dimension, value
UNION ALL
SELECT 'words', v.vocabulary, coalesce(t.words ->> v.vocabulary, %(none)s), count(*), 0, NULL, NULL, NULL, 0
FROM vocabularies v
CROSS JOIN reports.tickets t
WHERE t.tenant = %(tenant)s
GROUP BY 2, 3
UNION ALL
SELECT section, dimension, value, count(*), count(*) FILTER (WHERE seconds < 0),
    avg(seconds) FILTER (WHERE seconds >= 0),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE seconds >= 0),
    percentile_cont(0.9) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE seconds >= 0),
    0
FROM durations
GROUP BY section, dimension, value
UNION ALL
SELECT 'ratings', 'value', rating::text, count(*), 0, NULL, NULL, NULL, 0 FROM rated GROUP BY rating
UNION ALL
SELECT 'ratings', 'total', '', count(*), 0, avg(rating), NULL, NULL, 0 FROM rated
UNION ALL
SELECT 'activity.by_day', kind, day::text, sum(count)::bigint, 0, NULL, NULL, NULL, sum(seconds)::bigint
FROM reports.activity
WHERE tenant = %(tenant)s
GROUP BY kind, day
UNION ALL
SELECT 'activity.by_author', kind, by, sum(count)::bigint, 0, NULL, NULL, NULL, sum(seconds)::bigint
FROM reports.activity
WHERE tenant = %(tenant)s AND by <> %(none)s
GROUP BY kind, by;
