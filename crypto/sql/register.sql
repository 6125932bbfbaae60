-- name: look_up
SELECT blind_index, page, sealed, told FROM register
WHERE tenant = %(tenant)s AND blind_index = ANY(%(indexes)b::bytea[]);

-- name: known
SELECT count(*) AS known FROM register WHERE tenant = %(tenant)s AND blind_index = ANY(%(indexes)b::bytea[]);

-- name: still_known
SELECT blind_index FROM register WHERE tenant = %(tenant)s AND blind_index = ANY(%(indexes)b::bytea[]);

-- name: look_up_fences
SELECT tag, day FROM fences WHERE tenant = %(tenant)s AND tag = ANY(%(tags)b::bytea[]);

-- name: pages
SELECT key_id, tenant, kind, period, epoch, wrapped FROM wrapping_keys WHERE key_id = ANY(%(pages)b::uuid[]);

-- name: alone_on_tenant
-- Whoever brings new references to a tenant does so alone, until commit.
SELECT pg_advisory_xact_lock(hashtextextended('sealdesk/register/' || %(tenant)s::text, 0));

-- name: insert_entries!
INSERT INTO register (tenant, blind_index, page, sealed, told)
SELECT %(tenant)s, given.blind_index, given.page, given.sealed, given.told
FROM unnest(%(indexes)b::bytea[], %(pages)b::uuid[], %(sealed)b::bytea[], %(told)b::boolean[])
     AS given (blind_index, page, sealed, told)
-- The order of the file says nothing of which row of the ways back belongs to which here, nor of who came when.
ORDER BY given.blind_index
ON CONFLICT (tenant, blind_index) DO UPDATE SET page = excluded.page, sealed = excluded.sealed
-- A part that the log tells keeps the id that it has there.
WHERE NOT (register.told AND register.blind_index = ANY(%(parts)b::bytea[]));

-- name: take_entries
SELECT blind_index, sealed FROM register WHERE tenant = %(tenant)s AND blind_index = ANY(%(indexes)b::bytea[])
ORDER BY blind_index FOR UPDATE;

-- name: mark_told!
UPDATE register SET told = true
WHERE tenant = %(tenant)s AND blind_index = ANY(%(indexes)b::bytea[]) AND NOT told;

-- name: insert_backs!
INSERT INTO register_backs (owner, page, sealed)
SELECT given.owner, given.page, given.sealed
FROM unnest(%(owners)b::uuid[], %(pages)b::uuid[], %(sealed)b::bytea[]) AS given (owner, page, sealed)
-- A seal begins with its nonce, so this order is random.
ORDER BY given.sealed;

-- name: backs_of
SELECT ctid::text AS place, owner, page, sealed FROM register_backs WHERE owner = ANY(%(owners)b::uuid[]);

-- name: delete_backs_at!
DELETE FROM register_backs WHERE owner = ANY(%(owners)b::uuid[]) AND sealed = ANY(%(sealed)b::bytea[]);

-- name: delete_backs!
DELETE FROM register_backs WHERE owner = ANY(%(owners)b::uuid[]);

-- name: delete_entries!
DELETE FROM register WHERE tenant = %(tenant)s AND blind_index = ANY(%(indexes)b::bytea[]);

-- name: insert_fences!
INSERT INTO fences (tenant, tag, period, day)
SELECT %(tenant)s, tag, %(period)s, %(day)s FROM unnest(%(tags)b::bytea[]) AS given (tag)
ON CONFLICT (tenant, tag) DO UPDATE SET day = greatest(fences.day, excluded.day);

-- name: expire_fences!
DELETE FROM fences WHERE tenant = %(tenant)s AND period = ANY(%(periods)b::text[]);

-- name: count_backs
SELECT count(*) AS backs FROM register_backs WHERE owner = ANY(%(owners)b::uuid[]);
