-- name: take_tenant
-- Whoever seals for a tenant holds this in common until the log has committed; whoever closes it holds it alone.
SELECT pg_advisory_xact_lock(hashtextextended('sealdesk/tenant/' || %(tenant)s::text, 0));

-- name: destroy_keys
-- Every key of the tenant that stands at the root: nothing that hangs beneath opens any more.
WITH gone AS (
    DELETE FROM wrapping_keys WHERE tenant = %(tenant)s AND kind <> 'mark' RETURNING key_id, kind
)
SELECT coalesce(array_agg(key_id) FILTER (WHERE kind = 'page'), '{}') AS pages,
       (SELECT count(*) FROM leaves
        WHERE owner IN (SELECT key_id FROM gone WHERE kind = 'day') AND wrapped IS NOT NULL) AS quarantined
FROM gone;

-- name: destroy_pairs!
DELETE FROM pairs WHERE tenant = %(tenant)s;

-- name: end_news!
-- What recipients were not told yet, nobody can tell them any more; the certificates of those shreds say so.
WITH over AS (
    SELECT news_id FROM outbox WHERE tenant = %(tenant)s AND key_destroyed_at IS NULL ORDER BY news_id FOR UPDATE
), without_pages AS (
    DELETE FROM outbox_pages USING over WHERE outbox_pages.news_id = over.news_id
)
UPDATE outbox SET key_destroyed_at = %(at)s, recertify = shred IS NOT NULL AND number IS NOT NULL
FROM over WHERE outbox.news_id = over.news_id;

-- name: remove_recipients!
UPDATE recipients SET removed_at = %(at)s WHERE tenant = %(tenant)s AND removed_at IS NULL;

-- name: insert_closing!
INSERT INTO closings (tenant, shred, line, mark, closed_at, pages)
VALUES (%(tenant)s, %(shred)s, %(line)s, %(mark)s, %(at)s, %(pages)s);

-- name: open_shreds
-- Shreds of a tenant that somebody began and nobody has finished, but for its closing.
SELECT shred_id, step FROM shreds
WHERE tenant = %(tenant)s AND kind <> 'tenant' AND step NOT IN ('finished', 'abandoned');

-- name: closing_of
-- The shred that closed a tenant, or is about to, the newest first.
SELECT * FROM shreds WHERE tenant = %(tenant)s AND kind = 'tenant' AND step <> 'abandoned' ORDER BY begun_at DESC;

-- name: closing_begun
-- The closing of a tenant that somebody began, and that has destroyed nothing yet.
SELECT shred_id FROM shreds
WHERE tenant = %(tenant)s AND kind = 'tenant' AND step = 'intended' AND step NOT IN ('finished', 'abandoned');

-- name: effect
-- What goes with a tenant: whoever lives, what stands, and what opens.
SELECT (SELECT count(*) FROM subjects WHERE tenant = %(tenant)s AND line IS NULL) AS subjects,
       (SELECT count(*) FROM things WHERE tenant = %(tenant)s AND line IS NULL) AS things,
       (SELECT count(*) FROM leaves WHERE tenant = %(tenant)s AND NOT blob AND wrapped IS NOT NULL
                                      AND (thing_id IN (SELECT thing_id FROM things WHERE tenant = %(tenant)s)
                                           OR thing_id IN (SELECT profile FROM subjects WHERE tenant = %(tenant)s)))
       AS facts,
       (SELECT count(*) FROM leaves WHERE tenant = %(tenant)s AND blob AND wrapped IS NOT NULL) AS files,
       (SELECT count(*) FROM register WHERE tenant = %(tenant)s) AS "references",
       (SELECT count(*) FROM leaves
        WHERE owner IN (SELECT key_id FROM wrapping_keys WHERE tenant = %(tenant)s AND kind = 'day')
          AND wrapped IS NOT NULL) AS quarantined,
       (SELECT count(*) FROM tellings JOIN outbox USING (news_id) JOIN recipients USING (recipient_id)
        WHERE outbox.tenant = %(tenant)s AND outbox.key_destroyed_at IS NULL AND outbox.number IS NOT NULL
          AND recipients.removed_at IS NULL AND (tellings.status IS NULL OR tellings.status = 'failed')) AS untold;

-- name: sweep_leaves
-- A slice of all rows in the order of their ids; of these, the ones of the tenant go. Words of officers and records of the
-- quarantine are no facts, so they are not counted.
WITH slice AS (
    SELECT thing_id, key_id, tenant FROM leaves WHERE (thing_id, key_id) > (%(after)s, %(after_key)s)
    ORDER BY thing_id, key_id LIMIT %(limit)s
), gone AS (
    DELETE FROM leaves USING slice
    WHERE slice.tenant = %(tenant)s AND leaves.thing_id = slice.thing_id AND leaves.key_id = slice.key_id
    RETURNING leaves.thing_id, leaves.blob, leaves.wrapped IS NOT NULL AS living
), counted AS (
    SELECT blob FROM gone WHERE living AND (EXISTS (SELECT 1 FROM things WHERE things.thing_id = gone.thing_id)
                                            OR EXISTS (SELECT 1 FROM subjects WHERE subjects.profile = gone.thing_id))
)
SELECT slice.thing_id AS after, slice.key_id AS after_key, count(*) OVER () AS looked_at,
       (SELECT count(*) FROM counted WHERE NOT blob) AS facts, (SELECT count(*) FROM counted WHERE blob) AS files
FROM slice ORDER BY slice.thing_id DESC, slice.key_id DESC LIMIT 1;

-- name: sweep_subjects
WITH slice AS (
    SELECT subject_id, tenant FROM subjects WHERE subject_id > %(after)s ORDER BY subject_id LIMIT %(limit)s
), gone AS (
    DELETE FROM subjects USING slice WHERE slice.tenant = %(tenant)s AND subjects.subject_id = slice.subject_id
    RETURNING subjects.line
)
SELECT subject_id AS after, count(*) OVER () AS looked_at, (SELECT count(*) FROM gone WHERE line IS NULL) AS subjects
FROM slice ORDER BY subject_id DESC LIMIT 1;

-- name: sweep_things
WITH slice AS (
    SELECT thing_id, tenant FROM things WHERE thing_id > %(after)s ORDER BY thing_id LIMIT %(limit)s
), gone AS (
    DELETE FROM things USING slice WHERE slice.tenant = %(tenant)s AND things.thing_id = slice.thing_id
    RETURNING things.line
)
SELECT thing_id AS after, count(*) OVER () AS looked_at, (SELECT count(*) FROM gone WHERE line IS NULL) AS things
FROM slice ORDER BY thing_id DESC LIMIT 1;

-- name: sweep_backs
WITH gone AS (
    DELETE FROM register_backs WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM register_backs
        WHERE page IN (SELECT unnest(pages) FROM closings WHERE tenant = %(tenant)s) LIMIT %(limit)s))
    RETURNING page
)
SELECT count(*) AS looked_at FROM gone;

-- name: sweep_register
WITH gone AS (
    DELETE FROM register WHERE ctid = ANY(ARRAY(SELECT ctid FROM register WHERE tenant = %(tenant)s LIMIT %(limit)s))
    RETURNING blind_index
)
SELECT count(*) AS looked_at, count(*) AS "references" FROM gone;

-- name: sweep_fences
WITH gone AS (
    DELETE FROM fences WHERE ctid = ANY(ARRAY(SELECT ctid FROM fences WHERE tenant = %(tenant)s LIMIT %(limit)s))
    RETURNING day
)
SELECT count(*) AS looked_at FROM gone;

-- name: count_swept!
-- In the transaction of the slice, so that each row is counted once, however often the sweep is killed.
UPDATE shreds SET counts = counts || (
    SELECT coalesce(jsonb_object_agg(key, coalesce((shreds.counts ->> key)::bigint, 0) + value::bigint), '{}')
    FROM jsonb_each_text(%(counts)s::jsonb))
WHERE shred_id = (SELECT shred FROM closings WHERE tenant = %(tenant)s);

-- name: forget_pages!
UPDATE closings SET pages = '{}' WHERE tenant = %(tenant)s;

-- name: closed
SELECT 1 AS one FROM closings WHERE tenant = %(tenant)s;

-- name: left
-- Rows that a closed tenant should not have any more, by place.
SELECT (SELECT count(*) FROM wrapping_keys WHERE tenant = %(tenant)s) + (SELECT count(*) FROM pairs WHERE tenant = %(tenant)s)
     + (SELECT count(*) FROM outbox_pages JOIN outbox USING (news_id) WHERE tenant = %(tenant)s)
     + (SELECT count(*) FROM subjects WHERE tenant = %(tenant)s)
     + (SELECT count(*) FROM leaves WHERE tenant = %(tenant)s) AS keys,
       (SELECT count(*) FROM register WHERE tenant = %(tenant)s) + (SELECT count(*) FROM things WHERE tenant = %(tenant)s)
     + (SELECT count(*) FROM fences WHERE tenant = %(tenant)s)
     + (SELECT count(*) FROM register_backs, closings
        WHERE closings.tenant = %(tenant)s AND register_backs.page = ANY(closings.pages)) AS register;

-- name: all_closings
SELECT closings.tenant, closings.line, closings.mark, closings.closed_at, shreds.step
FROM closings JOIN shreds ON shreds.shred_id = closings.shred ORDER BY closings.line;

-- name: keys_of_closed
-- Keys of closed tenants, of which one transaction has left none.
SELECT wrapping_keys.key_id AS id, wrapping_keys.kind FROM wrapping_keys JOIN closings USING (tenant)
UNION ALL SELECT pairs.key_id, 'pair' FROM pairs JOIN closings USING (tenant);

-- name: rows_of_closed
-- Tenants whose closing is finished, and of which a row is left.
SELECT closings.tenant AS id FROM closings JOIN shreds ON shreds.shred_id = closings.shred
WHERE shreds.step = 'finished' AND (
    EXISTS (SELECT 1 FROM subjects WHERE subjects.tenant = closings.tenant)
    OR EXISTS (SELECT 1 FROM things WHERE things.tenant = closings.tenant)
    OR EXISTS (SELECT 1 FROM leaves WHERE leaves.tenant = closings.tenant)
    OR EXISTS (SELECT 1 FROM register WHERE register.tenant = closings.tenant));

-- name: ended_things
-- What upstream ended: nobody reads any more what it was called.
SELECT thing_id FROM things WHERE tenant = %(tenant)s AND line < 0;
