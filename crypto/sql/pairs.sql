-- name: hold_tenant
-- Of two turns at once, the second waits for the first.
SELECT pg_advisory_xact_lock(hashtextextended('sealdesk/pairs/' || %(tenant)s::text, 0));

-- name: pairs_of
SELECT key_id, tenant, number, public_key, epoch, wrapped, bound, made_at, superseded_at, cluster, ends, due_at, gone_at
FROM pairs WHERE tenant = %(tenant)s ORDER BY number;

-- name: supersede!
UPDATE pairs SET superseded_at = %(at)s, bound = %(bound)s WHERE key_id = %(key_id)s;

-- name: insert_pair!
INSERT INTO pairs (key_id, tenant, number, public_key, epoch, wrapped, bound, made_at)
VALUES (%(key_id)s, %(tenant)s, %(number)s, %(public_key)s, %(epoch)s, %(wrapped)s, %(bound)s, %(made_at)s);

-- name: past_grace
-- Pairs whose successor is older than the grace, and that have not gone.
SELECT key_id, tenant, number, public_key, bound, made_at, superseded_at, cluster, ends, due_at, gone_at FROM pairs
WHERE superseded_at <= %(before)s AND gone_at IS NULL
ORDER BY superseded_at, key_id FOR UPDATE;

-- name: note_ends!
UPDATE pairs SET cluster = %(cluster)s, ends = %(ends)s, due_at = %(due_at)s
WHERE key_id = %(key_id)s AND gone_at IS NULL;

-- name: destroy_pair!
UPDATE pairs SET wrapped = NULL, gone_at = %(at)s, bound = %(bound)s WHERE key_id = %(key_id)s AND gone_at IS NULL;
