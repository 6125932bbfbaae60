-- name: tops
-- A key of each root epoch that has any, and how many there are.
SELECT DISTINCT ON (epoch) epoch, key_id, tenant, wrapped, count(*) OVER (PARTITION BY epoch) AS keys
FROM (
    SELECT key_id, tenant, kind, epoch, wrapped FROM wrapping_keys
    UNION ALL SELECT key_id, tenant, 'pair', epoch, wrapped FROM pairs WHERE wrapped IS NOT NULL
) AS standing ORDER BY epoch, key_id;

-- name: subjects_after
-- What a closed tenant leaves to be swept is judged by its closing.
SELECT subject_id FROM subjects
WHERE subject_id > %(after)s AND NOT EXISTS (SELECT 1 FROM closings WHERE closings.tenant = subjects.tenant)
ORDER BY subject_id LIMIT %(limit)s;

-- name: subject_paths
-- What `paths` gives of leaves, of some subjects.
WITH RECURSIVE chain AS (
    SELECT * FROM subjects WHERE subject_id = ANY(%(subject_ids)b::uuid[])
    UNION
    SELECT above.* FROM chain JOIN subjects AS above ON above.subject_id = chain.parent
)
SELECT 'subject' AS level, NULL::uuid AS thing_id, subject_id AS id, tenant, parent, NULL::uuid[] AS co_owners, bound,
       wrapped, line, mark, NULL::integer AS epoch, NULL::text AS kind FROM chain
UNION ALL
SELECT 'key', NULL, key_id, tenant, NULL, NULL, NULL, wrapped, NULL, NULL, epoch, kind
FROM wrapping_keys WHERE key_id IN (SELECT parent FROM chain);

-- name: things_after
SELECT things.thing_id AS id, things.tenant, things.owner, NULL::bytea AS wrapped, things.line, things.mark,
       things.owner = things.tenant OR subjects.subject_id IS NOT NULL AS owned
FROM things LEFT JOIN subjects ON subjects.subject_id = things.owner
WHERE things.thing_id > %(after)s AND NOT EXISTS (SELECT 1 FROM closings WHERE closings.tenant = things.tenant)
ORDER BY things.thing_id LIMIT %(limit)s;

-- name: leaves_after
SELECT thing_id, key_id FROM leaves
WHERE (thing_id, key_id) > (%(after)s, %(after_key)s)
  AND NOT EXISTS (SELECT 1 FROM closings WHERE closings.tenant = leaves.tenant)
ORDER BY thing_id, key_id LIMIT %(limit)s;

-- name: pages_after
SELECT key_id, tenant, kind, epoch, wrapped FROM wrapping_keys
WHERE kind = 'page' AND key_id > %(after)s ORDER BY key_id LIMIT %(limit)s;

-- name: entries_by_index
SELECT blind_index, page, sealed FROM register
WHERE tenant = %(tenant)s AND blind_index = ANY(%(indexes)b::bytea[]);

-- name: backs_by_owner
SELECT owner, page, sealed FROM register_backs WHERE owner = ANY(%(owners)b::uuid[]);

-- name: insides
-- What the register leads to: a person, a thing, or the profile whose part a picture is; and whether it lives.
SELECT subject_id AS id, tenant, line IS NULL AS living FROM subjects WHERE subject_id = ANY(%(ids)b::uuid[])
UNION ALL
SELECT thing_id, tenant, line IS NULL FROM things WHERE thing_id = ANY(%(ids)b::uuid[])
UNION ALL
SELECT profile, tenant, line IS NULL FROM subjects WHERE profile = ANY(%(ids)b::uuid[]);

-- name: without_page
-- Pages of register rows that are missing.
SELECT page AS id FROM (SELECT DISTINCT page FROM register UNION SELECT DISTINCT page FROM register_backs) AS used
WHERE NOT EXISTS (SELECT 1 FROM wrapping_keys WHERE key_id = used.page AND kind = 'page')
  AND NOT EXISTS (SELECT 1 FROM closings WHERE used.page = ANY(closings.pages));

-- name: without_service_key
-- Tenants that use a key of their own which is missing: a new one would be made, and nothing of the old would match.
SELECT DISTINCT tenant AS id, 'index' AS kind FROM register
WHERE NOT EXISTS (SELECT 1 FROM wrapping_keys AS own WHERE own.tenant = register.tenant AND own.kind = 'index')
  AND NOT EXISTS (SELECT 1 FROM closings WHERE closings.tenant = register.tenant)
UNION ALL
SELECT DISTINCT tenant, 'fence' FROM fences
WHERE NOT EXISTS (SELECT 1 FROM wrapping_keys AS own WHERE own.tenant = fences.tenant AND own.kind = 'fence'
                                                       AND own.period = fences.period)
  AND NOT EXISTS (SELECT 1 FROM closings WHERE closings.tenant = fences.tenant);

-- name: mark_key
SELECT key_id, tenant, kind, epoch, wrapped FROM wrapping_keys
WHERE tenant = %(tenant)s AND kind = 'mark' AND period = 'all';

-- name: bound_rows
SELECT EXISTS (SELECT 1 FROM subjects) OR EXISTS (SELECT 1 FROM leaves) OR EXISTS (SELECT 1 FROM things WHERE line IS NOT NULL)
       AS bound;

-- name: losses_below_zero
SELECT key_id AS id, kind FROM wrapping_keys WHERE losses < 0
UNION ALL SELECT subject_id, 'subject' FROM subjects WHERE losses < 0;

-- name: more_than_counted
-- Keys that hold more than they count, so that they would be filled beyond their limit.
SELECT key_id AS id, kind FROM wrapping_keys
JOIN (SELECT parent, count(*) AS living FROM subjects WHERE wrapped IS NOT NULL GROUP BY parent) AS held
     ON held.parent = key_id
WHERE kind = 'bucket' AND children < living
UNION ALL
SELECT key_id, kind FROM wrapping_keys
JOIN (SELECT owner, count(*) AS living FROM leaves WHERE wrapped IS NOT NULL GROUP BY owner) AS held ON held.owner = key_id
WHERE kind = 'desk' AND children < living
UNION ALL
SELECT key_id, kind FROM wrapping_keys
JOIN (SELECT page, count(*) AS living FROM register GROUP BY page) AS held ON held.page = key_id
WHERE kind = 'page' AND children < living;

-- name: under_older
-- Keys under an older root than the newest that has been filled. At that time there were none.
SELECT key_id AS id, kind FROM wrapping_keys
WHERE epoch < (SELECT max(epoch) FROM epochs WHERE filled_at IS NOT NULL);

-- name: ended_epochs
SELECT epoch FROM epochs WHERE destroyed_at IS NOT NULL AND effective_at <= %(at)s ORDER BY epoch;

-- name: counters
SELECT (SELECT count(*) FROM issued) AS issued_rows, (SELECT max(issue) FROM issued) AS issue,
       (SELECT count(*) FROM kept) AS kept_rows, (SELECT max(position) FROM kept) AS kept;

-- name: targets
-- People and things that the ledger names, as far as there is a row.
SELECT subject_id AS id, tenant, 'subject' AS kind, line, mark, wrapped FROM subjects
WHERE subject_id = ANY(%(ids)b::uuid[])
UNION ALL
SELECT thing_id, tenant, 'thing', line, mark, NULL FROM things WHERE thing_id = ANY(%(ids)b::uuid[])
UNION ALL
SELECT tenant, tenant, 'tenant', line, mark, NULL FROM closings WHERE tenant = ANY(%(ids)b::uuid[]);

-- name: closed_tenants
SELECT tenant FROM closings;

-- name: steps
SELECT shred_id, step, ground, targets, epoch FROM shreds WHERE shred_id = ANY(%(shreds)b::uuid[]);

-- name: rows
SELECT (SELECT count(*) FROM wrapping_keys) AS keys, (SELECT count(*) FROM subjects) AS subjects,
       (SELECT count(*) FROM things) AS things, (SELECT count(*) FROM leaves) AS leaves,
       (SELECT count(*) FROM register) AS register;
