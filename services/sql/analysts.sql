-- What analysts read: copies of counts, in a schema of each tenant, written anew at every publication. No table here
-- names or leads to a person, a ticket or a fact, and every text is a word of a closed list.
--
-- The statements run with the search path on that schema. {names} in braces are put in by `services.analysts`.

-- name: lock_publication
-- Two publications of one tenant follow each other. Held by the session: the snapshot has to begin after the wait.
SELECT pg_advisory_lock(hashtextextended('sealdesk analysts ' || %(schema)s, 0));

-- name: lock_swap
-- A rebuild of `reports` waits: tables that are swapped in within our snapshot would look empty. The same lock as that
-- of a page in `projections/sql/paging.sql`.
SELECT pg_advisory_lock_shared(hashtextextended('sealdesk swap reports', 0));

-- name: lock_rights
-- The rights of everybody are one row of the database, which two transactions at once cannot change.
SELECT pg_advisory_xact_lock(hashtextextended('sealdesk analysts rights', 0));

-- name: enter
-- What is counted was never analysed, and the planner would look every value up in every row of what is shown.
SELECT set_config('search_path', %(schema)s, true), set_config('enable_nestloop', 'off', true),
    set_config('enable_mergejoin', 'off', true),    set_config('jit', 'off', true);

-- name: shape
-- What the schema was made from; no row without schema or without one of its roles.
SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace
WHERE nspname = %(schema)s AND (SELECT count(*) FROM pg_roles WHERE rolname = ANY(%(roles)s)) = cardinality(%(roles)s);

-- name: schemas
SELECT nspname::text FROM pg_namespace
WHERE nspname ~ '^analysts_[0-9a-f]{12}$' AND to_regclass(quote_ident(nspname) || '.freshness') IS NOT NULL
    AND pg_has_role(nspowner, 'USAGE');

-- name: create_role!
-- Roles belong to the cluster, so another database may create the same one at the same time.
DO $$
BEGIN
    CREATE ROLE {role} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

-- name: create!
CREATE DOMAIN dimension AS text COLLATE "C" CHECK (
    VALUE IN ('all', 'opened_in', 'status', 'priority', 'channel', 'type', 'group', 'product', 'agent', 'rating')
);
COMMENT ON DOMAIN dimension IS 'What tickets are grouped by.';
CREATE DOMAIN section AS text COLLATE "C" CHECK (VALUE IN ('first_response', 'resolution'));
COMMENT ON DOMAIN section IS 'Which duration of a ticket is meant.';
CREATE DOMAIN word AS text COLLATE "C" CONSTRAINT known CHECK (VALUE IS NULL);
COMMENT ON DOMAIN word IS
    'A word of a vocabulary, a month, a rating or a pseudonym. Its constraint lists the words, so no text fits in.';

CREATE FUNCTION rounded(seconds numeric) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN abs(seconds) < 100 THEN round(seconds, -1)
    ELSE round(seconds, 1 - floor(log(abs(seconds)::float8))::integer)
END::bigint;
COMMENT ON FUNCTION rounded IS
    'Two significant digits, and nothing finer than ten seconds: as blurred for a chat as for a month of waiting.';

CREATE TABLE freshness (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    as_of timestamptz NOT NULL,
    stale_at timestamptz NOT NULL CHECK (stale_at > as_of),
    position bigint NOT NULL,
    k integer NOT NULL CHECK (k >= 2)
);
COMMENT ON TABLE freshness IS 'The only row says of when this publication is. All tables change with it, at once.';
COMMENT ON COLUMN freshness.one IS 'Always true: there is one row.';
COMMENT ON COLUMN freshness.as_of IS 'Everything recorded before this moment is counted.';
COMMENT ON COLUMN freshness.stale_at IS 'After this moment a newer publication should have been made.';
COMMENT ON COLUMN freshness.position IS 'The position of the log up to which was counted.';
COMMENT ON COLUMN freshness.k IS 'How many tickets a group has at least. Smaller ones are in "other".';

CREATE TABLE tickets_by (
    dimension dimension NOT NULL,
    value word NOT NULL,
    tickets bigint NOT NULL CHECK (tickets >= 2),
    PRIMARY KEY (dimension, value)
);
COMMENT ON TABLE tickets_by IS
    'One row is a group of tickets. The groups of one dimension hold every ticket that was ever opened once, deleted and '
    'erased ones included. No rows: there are fewer than k tickets.';
COMMENT ON COLUMN tickets_by.dimension IS
    'What they are grouped by: "all" is the total, "opened_in" the month of opening in UTC, "agent" who was in charge '
    'last, "rating" the last rating.';
COMMENT ON COLUMN tickets_by.value IS
    'The word of the group: "none" where a ticket says nothing, "other" for all words that fewer than k tickets have '
    'and for words of no vocabulary.';
COMMENT ON COLUMN tickets_by.tickets IS 'How many tickets the group has.';

CREATE TABLE durations_by (
    section section NOT NULL,
    dimension dimension NOT NULL,
    value word NOT NULL,
    tickets bigint CHECK (tickets >= 2),
    negative bigint CHECK (negative >= 0),
    mean_seconds bigint NOT NULL CHECK (mean_seconds = rounded(mean_seconds)),
    median_seconds bigint NOT NULL CHECK (median_seconds = rounded(median_seconds)),
    p90_seconds bigint NOT NULL CHECK (p90_seconds = rounded(p90_seconds)),
    PRIMARY KEY (section, dimension, value)
);
COMMENT ON TABLE durations_by IS
    'One row is how long the tickets of a group took, if at least k of them have a duration. "other" may hold more than '
    'in tickets_by.';
COMMENT ON COLUMN durations_by.section IS
    '"first_response": from the opening to the earliest public reply by an agent. "resolution": to when the ticket was '
    'last resolved or closed.';
COMMENT ON COLUMN durations_by.dimension IS 'What the tickets are grouped by, as in tickets_by.';
COMMENT ON COLUMN durations_by.value IS 'The word of the group, as in tickets_by.';
COMMENT ON COLUMN durations_by.tickets IS
    'How many tickets are averaged. NULL in all rows of a section and dimension where the number would give away a group '
    'of fewer than k, such as those without an answer.';
COMMENT ON COLUMN durations_by.negative IS
    'How many tickets have a negative duration, because the clocks upstream disagree; they are not averaged. NULL where '
    'tickets is.';
COMMENT ON COLUMN durations_by.mean_seconds IS 'The mean, in seconds, with two significant digits.';
COMMENT ON COLUMN durations_by.median_seconds IS 'The median, in seconds, with two significant digits.';
COMMENT ON COLUMN durations_by.p90_seconds IS 'Nine of ten took no longer, in seconds, with two significant digits.';

CREATE TABLE ratings_by (
    dimension dimension NOT NULL,
    value word NOT NULL,
    tickets bigint CHECK (tickets >= 2),
    mean smallint NOT NULL,
    PRIMARY KEY (dimension, value)
);
COMMENT ON TABLE ratings_by IS
    'One row is how the tickets of a group were rated, if at least k of them were; of each ticket the last rating.';
COMMENT ON COLUMN ratings_by.dimension IS 'What the tickets are grouped by, as in tickets_by.';
COMMENT ON COLUMN ratings_by.value IS 'The word of the group, as in tickets_by.';
COMMENT ON COLUMN ratings_by.tickets IS 'How many tickets were rated; NULL as in durations_by.';
COMMENT ON COLUMN ratings_by.mean IS 'The mean rating, from -103 (worst) to 103 (best), without decimals.';

CREATE TABLE ticket_rows (
    opened_on date NOT NULL,
    status word NOT NULL,
    priority word NOT NULL,
    channel word NOT NULL,
    type word NOT NULL,
    "group" word NOT NULL,
    product word NOT NULL,
    agent word NOT NULL,
    first_response_seconds bigint CHECK (first_response_seconds = rounded(first_response_seconds)),
    resolution_seconds bigint CHECK (resolution_seconds = rounded(resolution_seconds)),
    rating smallint
);
COMMENT ON TABLE ticket_rows IS
    'One row is one ticket that was ever opened, in no order and without an id. Its words are those of tickets_by, so a '
    'word that fewer than k tickets have is "other" here too.';
COMMENT ON COLUMN ticket_rows.opened_on IS 'The day of opening, in UTC.';
COMMENT ON COLUMN ticket_rows.status IS 'The last status.';
COMMENT ON COLUMN ticket_rows.priority IS 'The last priority.';
COMMENT ON COLUMN ticket_rows.channel IS 'How the ticket came in.';
COMMENT ON COLUMN ticket_rows.type IS 'The last type.';
COMMENT ON COLUMN ticket_rows."group" IS 'The group in charge, last.';
COMMENT ON COLUMN ticket_rows.product IS 'The product that it is about.';
COMMENT ON COLUMN ticket_rows.agent IS 'The agent in charge, last: a pseudonym until the next rotation.';
COMMENT ON COLUMN ticket_rows.first_response_seconds IS
    'From the opening to the earliest public reply by an agent, with two significant digits; negative where the clocks '
    'upstream disagree.';
COMMENT ON COLUMN ticket_rows.resolution_seconds IS
    'From the opening to when it was last resolved or closed, with two significant digits; NULL while open.';
COMMENT ON COLUMN ticket_rows.rating IS 'The last rating, from -103 (worst) to 103 (best); NULL if there is none.';

CREATE VIEW dictionary AS
SELECT c.relname::text AS table_name, a.attname::text AS column_name, d.description AS meaning
FROM pg_class c
JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'freshness'::regclass);
COMMENT ON VIEW dictionary IS 'One row says what a table or column of this schema means. It is read from the catalogue.';
COMMENT ON COLUMN dictionary.table_name IS 'The table.';
COMMENT ON COLUMN dictionary.column_name IS 'The column; NULL where the table itself is explained.';
COMMENT ON COLUMN dictionary.meaning IS 'What it means.';

-- name: words_known
SELECT coalesce(obj_description(oid, 'pg_constraint'), '') FROM pg_constraint
WHERE contypid = 'word'::regtype AND conname = 'known';

-- name: declare_words!
-- Locks no reader out. The tables are empty within this transaction, so there is nothing to check either.
ALTER DOMAIN word DROP CONSTRAINT known;
ALTER DOMAIN word ADD CONSTRAINT known CHECK (
    VALUE IN ({words})
    OR VALUE ~ '^[0-9]{{4}}-(0[1-9]|1[0-2])$'
    OR VALUE ~ '^-?[0-9]{{1,3}}$'
    OR VALUE ~ '^agent-[0-9a-f]{{16}}$'
);
COMMENT ON CONSTRAINT known ON DOMAIN word IS {digest};

-- name: beyond
-- What a role can do beyond reading in its own schema. Rights of PUBLIC count as its own.
SELECT 'use the schema ' || nspname FROM pg_namespace
WHERE nspname NOT LIKE 'pg\_%%' AND nspname NOT IN ('information_schema', %(schema)s)
    AND has_schema_privilege(%(role)s, oid, 'USAGE, CREATE')
UNION ALL
SELECT 'create in its own schema' WHERE has_schema_privilege(%(role)s, %(schema)s, 'CREATE')
UNION ALL
SELECT 'create in the database' WHERE has_database_privilege(%(role)s, current_database(), 'CREATE, TEMPORARY')
UNION ALL
SELECT 'write to ' || relname FROM pg_class
WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'v')
    AND has_table_privilege(%(role)s, oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER, MAINTAIN')
UNION ALL
SELECT 'do what ' || above.rolname || ' can' FROM pg_auth_members m JOIN pg_roles above ON above.oid = m.roleid
WHERE m.member = %(role)s::regrole
UNION ALL
SELECT 'do more than a plain group' FROM pg_roles
WHERE rolname = %(role)s
    AND (rolsuper OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)
ORDER BY 1;

-- name: close!
-- What PostgreSQL lets everybody do in a new database. Where another than we owns it, this only warns, and `beyond`
-- finds it open.
REVOKE CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
-- Large objects and messages in the WAL are a way to write, and advisory locks would let an analyst stop the log. Only
-- a superuser can take them from everybody; the owner of the log keeps what it works with.
DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'public.facts_events'::regclass);
    one regprocedure;
BEGIN
    IF current_setting('is_superuser') = 'on' THEN
        FOR one IN
            SELECT oid FROM pg_proc
            WHERE pronamespace = 'pg_catalog'::regnamespace
                AND proname ~ '^(lo_(creat|create|from_bytea|put)|lowrite|pg_logical_emit_message|pg_.*advisory_.*)$'
        LOOP
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one);
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', one, owner);
        END LOOP;
    END IF;
END
$$;

-- name: declared
SELECT vocabulary, word FROM public.vocabulary WHERE tenant_id = %(tenant)s;

-- name: agents
SELECT DISTINCT agent FROM reports.tickets WHERE tenant = %(tenant)s AND agent IS NOT NULL;

-- name: position
SELECT coalesce(max(position), 0) FROM reports.position;

-- name: create_counted!
-- One row is what is counted of one ticket, before folding and rounding. It is gone with the transaction.
CREATE TEMPORARY TABLE counted (
    opened_on date,
    opened_in text COLLATE "C",
    status text COLLATE "C",
    priority text COLLATE "C",
    channel text COLLATE "C",
    type text COLLATE "C",
    "group" text COLLATE "C",
    product text COLLATE "C",
    agent text COLLATE "C",
    first_response_seconds bigint,
    resolution_seconds bigint,
    rating smallint
) ON COMMIT DROP;

-- name: count!
INSERT INTO counted
SELECT t.opened_on, to_char(t.opened_on, 'YYYY-MM'), t.status, t.priority, coalesce(t.channel, %(none)s),
    coalesce(t.type, %(none)s), coalesce(t."group", %(none)s), coalesce(t.product, %(none)s),
    coalesce(a.pseudonym, %(none)s), t.first_response_seconds, t.resolution_seconds, r.rating
FROM reports.tickets t
LEFT JOIN unnest(%(agents)b::uuid[], %(pseudonyms)b::text[]) AS a (agent, pseudonym) ON a.agent = t.agent
LEFT JOIN (
    SELECT DISTINCT ON (ticket) ticket, rating FROM reports.ratings
    WHERE tenant = %(tenant)s ORDER BY ticket, position DESC
) r ON r.ticket = t.ticket
WHERE t.tenant = %(tenant)s;

-- name: sizes
-- Every group of every dimension: how many tickets, and how many of them have what is averaged.
SELECT d.dimension, d.value, count(*),
    count(*) FILTER (WHERE first_response_seconds >= 0), count(*) FILTER (WHERE first_response_seconds < 0),
    count(*) FILTER (WHERE resolution_seconds >= 0), count(*) FILTER (WHERE resolution_seconds < 0),
    count(rating), 0::bigint
FROM counted
CROSS JOIN LATERAL (
    VALUES
        ('all', 'all'), ('opened_in', opened_in), ('status', status), ('priority', priority), ('channel', channel),
        ('type', type), ('group', "group"), ('product', product), ('agent', agent),
        ('rating', coalesce(rating::text, %(none)s))
) AS d (dimension, value)
GROUP BY d.dimension, d.value;

-- name: empty!
DELETE FROM freshness;
DELETE FROM tickets_by;
DELETE FROM durations_by;
DELETE FROM ratings_by;
DELETE FROM ticket_rows;

-- name: write_freshness!
INSERT INTO freshness (as_of, stale_at, position, k) VALUES (%(as_of)s, %(stale_at)s, %(position)s, %(k)s);

-- name: write_tickets!
INSERT INTO tickets_by (dimension, value, tickets)
SELECT * FROM unnest(%(column_1)b::text[], %(column_2)b::text[], %(column_3)b::bigint[]);

-- name: write_durations!
-- `shown` leads from a group as it was counted to the group that it is told in, with the numbers that may be told.
-- `each` is materialized, so that the join with it is one hash join; pulled up, it was a loop over all of `shown` for
-- each ticket, thirty times as slow.
WITH shown AS (
    SELECT * FROM unnest(%(column_1)b::text[], %(column_2)b::text[], %(column_3)b::text[], %(column_4)b::text[],
                         %(column_5)b::bigint[], %(column_6)b::bigint[])
        AS s (section, dimension, value, shown, tickets, negative)
),
each AS MATERIALIZED (
    SELECT d.section, g.dimension, g.value, d.seconds
    FROM counted c
    CROSS JOIN LATERAL (
        VALUES ('first_response', c.first_response_seconds), ('resolution', c.resolution_seconds)
    ) AS d (section, seconds)
    CROSS JOIN LATERAL (
        VALUES
            ('all', 'all'), ('opened_in', c.opened_in), ('priority', c.priority), ('channel', c.channel),
            ('type', c.type), ('group', c."group"), ('product', c.product), ('agent', c.agent)
    ) AS g (dimension, value)
    WHERE d.seconds >= 0
),
averaged AS (
    SELECT section, dimension, shown, min(tickets) AS tickets, min(negative) AS negative, avg(seconds) AS mean,
        percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY seconds) AS cuts
    FROM each JOIN shown USING (section, dimension, value)
    GROUP BY section, dimension, shown
)
INSERT INTO durations_by (section, dimension, value, tickets, negative, mean_seconds, median_seconds, p90_seconds)
SELECT section, dimension, shown, tickets, negative, rounded(mean), rounded(cuts[1]::numeric), rounded(cuts[2]::numeric)
FROM averaged;

-- name: write_ratings!
WITH shown AS (
    SELECT * FROM unnest(%(column_1)b::text[], %(column_2)b::text[], %(column_3)b::text[], %(column_4)b::bigint[])
        AS s (dimension, value, shown, tickets)
),
each AS MATERIALIZED (
    SELECT g.dimension, g.value, c.rating
    FROM counted c
    CROSS JOIN LATERAL (
        VALUES
            ('all', 'all'), ('opened_in', c.opened_in), ('priority', c.priority), ('channel', c.channel),
            ('type', c.type), ('group', c."group"), ('product', c.product), ('agent', c.agent)
    ) AS g (dimension, value)
    WHERE c.rating IS NOT NULL
)
INSERT INTO ratings_by (dimension, value, tickets, mean)
SELECT dimension, shown, min(tickets), round(avg(rating))
FROM each JOIN shown USING (dimension, value)
GROUP BY dimension, shown;

-- name: write_rows!
-- In random order, because every reader sees the place of a row on its page.
WITH shown AS MATERIALIZED (
    SELECT * FROM unnest(%(column_1)b::text[], %(column_2)b::text[], %(column_3)b::text[]) AS s (dimension, value, shown)
)
INSERT INTO ticket_rows (
    opened_on, status, priority, channel, type, "group", product, agent, first_response_seconds, resolution_seconds,
    rating
)
SELECT c.opened_on, s.shown, p.shown, ch.shown, t.shown, g.shown, pr.shown, a.shown, rounded(c.first_response_seconds),
    rounded(c.resolution_seconds), c.rating
FROM counted c
JOIN shown s ON s.dimension = 'status' AND s.value = c.status
JOIN shown p ON p.dimension = 'priority' AND p.value = c.priority
JOIN shown ch ON ch.dimension = 'channel' AND ch.value = c.channel
JOIN shown t ON t.dimension = 'type' AND t.value = c.type
JOIN shown g ON g.dimension = 'group' AND g.value = c."group"
JOIN shown pr ON pr.dimension = 'product' AND pr.value = c.product
JOIN shown a ON a.dimension = 'agent' AND a.value = c.agent
ORDER BY random();

-- name: destroy_secret!
-- In the key database. A pseudonym under the old secret leads nowhere from now on.
DELETE FROM wrapping_keys WHERE tenant = %(tenant)s AND kind = 'pseudonym';

-- name: login
-- A role that may be given one of ours: it has to exist, and a superuser would gain nothing.
SELECT rolsuper FROM pg_roles WHERE rolname = %(login)s;
