-- name: epoch
SELECT * FROM epochs WHERE epoch = %(epoch)s;

-- name: epochs
SELECT * FROM epochs ORDER BY epoch;

-- name: begin_epoch!
INSERT INTO epochs (epoch, begun_at) VALUES (%(epoch)s, %(at)s) ON CONFLICT DO NOTHING;

-- name: fill_epoch!
UPDATE epochs SET filled_at = %(at)s WHERE epoch = %(epoch)s AND filled_at IS NULL;

-- name: count_turned!
UPDATE epochs SET rewrapped = rewrapped + %(rewrapped)s, replaced = replaced + %(replaced)s,
                  children = children + %(children)s
WHERE epoch = %(epoch)s;

-- name: end_epoch!
-- Also one that was begun before rows were kept.
INSERT INTO epochs (epoch, begun_at, destroyed_at, effective_at) VALUES (%(epoch)s, %(at)s, %(at)s, %(effective)s)
ON CONFLICT (epoch) DO UPDATE SET destroyed_at = excluded.destroyed_at, effective_at = excluded.effective_at
WHERE epochs.destroyed_at IS NULL;

-- name: oldest_epoch
SELECT min(epoch) AS epoch FROM wrapping_keys;

-- name: keys_by_epoch
SELECT epoch, kind, count(*) AS keys FROM (
    SELECT key_id, tenant, kind, epoch, wrapped FROM wrapping_keys
    UNION ALL SELECT key_id, tenant, 'pair', epoch, wrapped FROM pairs WHERE wrapped IS NOT NULL
) AS standing GROUP BY epoch, kind ORDER BY epoch, kind;

-- name: to_turn
-- Keys that stand under an older root, and whether each, or a key directly beneath it, has lost a child.
SELECT key_id, tenant, kind, epoch, wrapped,
       losses > 0 OR (kind = 'bucket' AND EXISTS (
           SELECT 1 FROM subjects WHERE subjects.parent = wrapping_keys.key_id AND subjects.losses > 0)) AS lossy
FROM wrapping_keys WHERE epoch < %(epoch)s ORDER BY epoch, key_id LIMIT %(limit)s;

-- name: left_to_turn
SELECT (SELECT count(*) FROM wrapping_keys WHERE epoch < %(epoch)s)
     + (SELECT count(*) FROM pairs WHERE epoch < %(epoch)s AND wrapped IS NOT NULL) AS keys;

-- name: pairs_to_turn
SELECT key_id, tenant, epoch, wrapped FROM pairs
WHERE epoch < %(epoch)s AND wrapped IS NOT NULL ORDER BY key_id LIMIT %(limit)s FOR UPDATE;

-- name: rewrap_pairs!
UPDATE pairs SET wrapped = given.wrapped, epoch = %(epoch)s
FROM unnest(%(key_ids)b::uuid[], %(wrapped)b::bytea[]) AS given (key_id, wrapped)
WHERE pairs.key_id = given.key_id AND pairs.epoch < %(epoch)s AND pairs.wrapped IS NOT NULL;

-- name: rewrap_keys!
UPDATE wrapping_keys SET wrapped = given.wrapped, epoch = %(epoch)s
FROM unnest(%(key_ids)b::uuid[], %(wrapped)b::bytea[]) AS given (key_id, wrapped)
WHERE wrapping_keys.key_id = given.key_id AND wrapping_keys.epoch < %(epoch)s;

-- name: replace_key!
UPDATE wrapping_keys SET wrapped = %(wrapped)s, epoch = %(epoch)s, losses = 0,
                         children = least(children, %(children)s)
WHERE key_id = %(key_id)s AND epoch < %(epoch)s;

-- name: all_keys
SELECT key_id, tenant, kind, epoch, wrapped FROM (
    SELECT key_id, tenant, kind, epoch, wrapped FROM wrapping_keys
    UNION ALL SELECT key_id, tenant, 'pair', epoch, wrapped FROM pairs WHERE wrapped IS NOT NULL
) AS standing
WHERE key_id > %(after)s ORDER BY key_id LIMIT %(limit)s;

-- name: lossy_children
SELECT subject_id FROM subjects WHERE parent = %(parent)s AND losses > 0 ORDER BY subject_id;

-- name: lossy_merged
-- Subjects that lost a child and hang from another subject, a page of them. What a closed tenant leaves to be swept
-- hangs from nothing any more.
SELECT subject_id FROM subjects
WHERE losses > 0 AND NOT EXISTS (SELECT 1 FROM wrapping_keys WHERE wrapping_keys.key_id = subjects.parent)
  AND NOT EXISTS (SELECT 1 FROM closings WHERE closings.tenant = subjects.tenant)
ORDER BY subject_id LIMIT %(limit)s;

-- name: still_lossy
-- Of some subjects those that are still to be replaced.
SELECT subject_id FROM subjects
WHERE subject_id = ANY(%(subject_ids)b::uuid[]) AND losses > 0
  AND NOT EXISTS (SELECT 1 FROM closings WHERE closings.tenant = subjects.tenant)
ORDER BY subject_id;

-- name: subjects_beneath
SELECT subject_id, tenant, wrapped FROM subjects WHERE parent = %(parent)s AND wrapped IS NOT NULL ORDER BY subject_id;

-- name: rewrap_subjects!
UPDATE subjects SET wrapped = given.wrapped
FROM unnest(%(subject_ids)b::uuid[], %(wrapped)b::bytea[]) AS given (subject_id, wrapped)
WHERE subjects.subject_id = given.subject_id AND subjects.parent = %(parent)s AND subjects.wrapped IS NOT NULL;

-- name: replace_subject!
UPDATE subjects SET wrapped = %(wrapped)s, losses = 0 WHERE subject_id = %(subject_id)s AND wrapped IS NOT NULL;

-- name: forget_losses!
UPDATE subjects SET losses = 0 WHERE subject_id = %(subject_id)s AND losses > 0;

-- name: leaves_beneath
SELECT thing_id, key_id, tenant, owner, co_owners, wrapped FROM leaves
WHERE (owner = %(owner)s OR co_owners @> ARRAY[%(owner)s]::uuid[]) AND wrapped IS NOT NULL;

-- name: rewrap_leaves!
UPDATE leaves SET wrapped = given.wrapped
FROM unnest(%(thing_ids)b::uuid[], %(key_ids)b::uuid[], %(wrapped)b::bytea[]) AS given (thing_id, key_id, wrapped)
WHERE leaves.thing_id = given.thing_id AND leaves.key_id = given.key_id AND leaves.wrapped IS NOT NULL;

-- name: take_over_leaves
-- Leaves that are as they were when they were made ready get what was made; the others beneath the owner are given back.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(%(thing_ids)b::uuid[], %(key_ids)b::uuid[], %(before)b::bytea[], %(after)b::bytea[])
        AS given (thing_id, key_id, before, after)
), taken AS (
    UPDATE leaves SET wrapped = given.after FROM given
    WHERE leaves.thing_id = given.thing_id AND leaves.key_id = given.key_id AND leaves.wrapped = given.before
    RETURNING leaves.thing_id, leaves.key_id
)
SELECT counted.taken, rest.* FROM (SELECT count(*) AS taken FROM taken) AS counted LEFT JOIN (
    SELECT thing_id, key_id, tenant, owner, co_owners, wrapped FROM leaves
    WHERE (owner = %(owner)s OR co_owners @> ARRAY[%(owner)s]::uuid[]) AND wrapped IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM taken WHERE taken.thing_id = leaves.thing_id AND taken.key_id = leaves.key_id)
) AS rest ON true;

-- name: entries_of_page
SELECT tenant, blind_index, sealed FROM register WHERE page = %(page)s;

-- name: backs_of_page
SELECT ctid::text AS place, owner, sealed FROM register_backs WHERE page = %(page)s;

-- name: reseal_entries!
UPDATE register SET sealed = given.sealed, page = given.page
FROM unnest(%(indexes)b::bytea[], %(pages)b::uuid[], %(sealed)b::bytea[]) AS given (blind_index, page, sealed)
WHERE register.tenant = %(tenant)s AND register.blind_index = given.blind_index AND register.page = %(page)s;

-- name: reseal_backs!
UPDATE register_backs SET sealed = given.sealed, page = given.page
FROM unnest(%(places)b::text[], %(pages)b::uuid[], %(sealed)b::bytea[]) AS given (place, page, sealed)
WHERE register_backs.ctid = given.place::tid AND register_backs.page = %(page)s;

-- name: certified_until
-- Finished shreds whose last root is destroyed, and whose certificates do not say so yet.
SELECT shred_id, epoch, line FROM shreds
WHERE step = 'finished' AND epoch <= %(epoch)s AND line > %(after)s AND certificate ->> 'unrecoverable_since' IS NULL
ORDER BY line LIMIT %(limit)s;

-- name: recoverable
-- Finished shreds that somebody with an old copy and the roots of its time could still undo.
SELECT count(*) AS shreds FROM shreds WHERE step = 'finished' AND certificate ->> 'unrecoverable_since' IS NULL;

-- name: people
SELECT count(*) FILTER (WHERE line IS NULL) AS living, count(*) FILTER (WHERE line IS NOT NULL) AS shredded FROM subjects;

-- name: note_backup!
INSERT INTO key_backups (made_at, told_at) VALUES (%(made_at)s, %(at)s) ON CONFLICT DO NOTHING;

-- name: newest_backup
SELECT max(made_at) AS made_at FROM key_backups;

-- name: keys_by_id
SELECT key_id, tenant, kind, epoch, wrapped FROM wrapping_keys WHERE key_id = ANY(%(ids)b::uuid[]);
