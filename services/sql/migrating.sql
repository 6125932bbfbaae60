-- Waiting for nobody's limits, and comparing a database that was made before there were migrations with what the first
-- file makes.

-- name: without_limits
-- Limits of the login or of the database would cut a long file. Not every version of the server knows each.
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout');

-- name: parts_of_schema
-- All that decides what the tables, sequences and composite types of a schema hold and refuse: each part by its relation
-- and its name, and its definition without the name of the schema. NOT NULL is said with the column.
WITH relations AS (
    SELECT oid, relname, relkind, relpersistence FROM pg_class
    WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind IN ('r', 'c', 'S')
), parts AS (
    SELECT r.relname, ''::name AS name,
           r.relkind::text || CASE WHEN r.relpersistence = 'p' THEN '' ELSE ' NOT LOGGED' END AS definition
    FROM relations r
    UNION ALL
    SELECT r.relname, a.attname,
           format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
           || CASE WHEN a.attcollation = t.typcollation THEN '' ELSE ' COLLATE ' || a.attcollation::regcollation::text END
           || coalesce(' IDENTITY ' || nullif(a.attidentity::text, ''), '')
           || coalesce(' GENERATED ' || nullif(a.attgenerated::text, ''), '')
           || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
    FROM relations r
    JOIN pg_attribute a ON a.attrelid = r.oid
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT r.relname, c.conname, pg_get_constraintdef(c.oid)
    FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid
    WHERE c.contype <> 'n'
    UNION ALL
    SELECT r.relname, i.relname,
           pg_get_indexdef(x.indexrelid) || CASE WHEN x.indisvalid AND x.indisready THEN '' ELSE ' NOT VALID' END
    FROM relations r
    JOIN pg_index x ON x.indrelid = r.oid
    JOIN pg_class i ON i.oid = x.indexrelid
    UNION ALL
    SELECT r.relname, g.tgname, pg_get_triggerdef(g.oid) || ' ' || g.tgenabled::text
    FROM relations r JOIN pg_trigger g ON g.tgrelid = r.oid
    WHERE NOT g.tgisinternal
)
SELECT relname AS relation, name, replace(definition, quote_ident(%(schema)s) || '.', '') AS definition
FROM parts ORDER BY 1, 2, 3;
