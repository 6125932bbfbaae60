-- Every read model has its position in its own schema.

-- name: create
CREATE TABLE position (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL
);
COMMENT ON TABLE position IS 'The only row says up to where on the log this read model is folded; none, that it is new.';

-- name: enter
-- Work in the schema of one read model until the transaction ends. A page never waits for anybody but the database
-- itself, so a session that idles longer than this is dead. A page looks up thousands of rows by their keys: on
-- tables that were never analysed, joins other than by index read the whole table for every page.
SELECT set_config('search_path', %(schema)s, true),
    set_config('idle_in_transaction_session_timeout', '10min', true),
    set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true);

-- name: exists
-- Asked of the table, which says what is committed now. A session that has looked for a schema by name remembers that
-- there is none, also while it waits for whoever makes it.
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s);

-- name: is_former
-- Rows held the bytes of seals once; today they say where a seal stands.
SELECT EXISTS (
    SELECT FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'seal' AND a.atttypid = 'bytea'::regtype
    WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind = 'r'
);

-- name: grown
-- Tables that are four times as large as the planner believes, or more.
SELECT c.relname
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(%(schema)s)
    AND c.relkind = 'r'
    AND pg_relation_size(c.oid) >= 4 * greatest(c.relpages, 1) * current_setting('block_size')::bigint
ORDER BY c.relname;

-- name: lock_creation
-- Two runners that start together create a schema once.
SELECT pg_advisory_xact_lock(hashtextextended('sealdesk create ' || %(schema)s, 0));

-- name: lock_page
-- Many pages may hold this; a swap waits for them, and they for it.
SELECT pg_advisory_xact_lock_shared(hashtextextended('sealdesk swap ' || %(model)s, 0));

-- name: try_lock_pages
SELECT bool_and(pg_try_advisory_xact_lock_shared(hashtextextended('sealdesk swap ' || model, 0)))
FROM unnest(%(models)b::text[]) AS given (model);

-- name: all_exist
-- The table of closed tenants came last: where it is, the others are.
SELECT bool_and(to_regclass(given.name) IS NOT NULL) FROM unnest(%(tables)b::text[]) AS given (name);

-- name: lock_swap
SELECT pg_advisory_xact_lock(hashtextextended('sealdesk swap ' || %(model)s, 0));

-- name: read
SELECT position FROM position;

-- name: begin
-- The first page: only one runner can be first.
INSERT INTO position (position) VALUES (%(position)s) ON CONFLICT DO NOTHING;

-- name: advance
-- Compare and set: of two runners at the same position, the second finds no row.
UPDATE position SET position = %(position)s WHERE position = %(expected)s;

-- name: advance_one
-- The same of several read models in one statement; each part asks whether the part before it moved.
{name} AS (UPDATE {table} SET position = %(position)s WHERE position = %(expected)s AND {moved} RETURNING 1)
