-- name: declared_words
SELECT name AS word FROM tenants UNION ALL SELECT word FROM vocabulary;

-- name: names_of_recipients
SELECT name FROM recipients;

-- name: leaves_of_people
-- The key of every fact and file that goes with these people.
SELECT thing_id, key_id, blob, wrapped FROM leaves
WHERE (owner = ANY(%(owners)b::uuid[]) OR co_owners && %(owners)b::uuid[]) AND wrapped IS NOT NULL
ORDER BY thing_id;

-- name: leaves_of_thing
SELECT thing_id, key_id, blob, wrapped FROM leaves WHERE thing_id = %(thing)s AND wrapped IS NOT NULL;

-- name: keys_of_people
SELECT wrapped FROM subjects WHERE subject_id = ANY(%(owners)b::uuid[]) AND wrapped IS NOT NULL;

-- name: waiting_news
-- News of these shreds that not everybody has acknowledged: sealed under a key of its own that still lives.
SELECT count(*) AS waiting FROM outbox WHERE shred = ANY(%(shreds)b::uuid[]) AND key_destroyed_at IS NULL;

-- name: tables
-- Everything that holds rows, with the catalogs; not what other sessions keep for themselves. `numbers` are the columns
-- whose binary form shows no digits: numbers, and what may be made of them (arrays, ranges, rows).
SELECT class.oid, namespace.nspname AS schema, class.relname AS name,
  ARRAY(
    SELECT attribute.attname::text FROM pg_catalog.pg_attribute AS attribute
    JOIN pg_catalog.pg_type AS type ON type.oid = attribute.atttypid
    LEFT JOIN pg_catalog.pg_type AS element ON element.oid = type.typelem AND type.typcategory = 'A'
    WHERE attribute.attrelid = class.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
      AND coalesce(element.typcategory, type.typcategory) IN ('N', 'R', 'C')
    ORDER BY attribute.attnum
  ) AS numbers
FROM pg_catalog.pg_class AS class
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE class.relkind IN ('r', 'm') AND class.relpersistence <> 't' AND class.relispopulated
  AND namespace.nspname NOT IN ('pg_toast', 'information_schema')
ORDER BY 2, 3;

-- name: large_objects
SELECT oid FROM pg_catalog.pg_largeobject_metadata ORDER BY oid;

-- name: part_of_large_object
SELECT pg_catalog.lo_get(%(oid)s::oid, %(start)s::bigint, %(bytes)s::integer) AS part;
