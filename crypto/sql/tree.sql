-- name: service_keys
-- The keys of a tenant for one kind of work, by period.
SELECT key_id, tenant, kind, period, epoch, wrapped FROM wrapping_keys
WHERE tenant = %(tenant)s AND kind = %(kind)s AND period <> ''
ORDER BY period;

-- name: insert_wrapping_keys!
INSERT INTO wrapping_keys (key_id, tenant, kind, period, epoch, wrapped)
SELECT * FROM unnest(%(key_ids)b::uuid[], %(tenants)b::uuid[], %(kinds)b::text[], %(periods)b::text[],
                     %(epochs)b::integer[], %(wrapped)b::bytea[])
ON CONFLICT DO NOTHING;

-- name: hold_tenants
-- Of whoever seals for these; `closing.sql` has the lock of whoever closes one. In order, so that no two wait in a ring.
SELECT pg_advisory_xact_lock_shared(hashtextextended('sealdesk/tenant/' || given.tenant::text, 0))
FROM unnest(%(tenants)b::uuid[]) AS given (tenant);

-- name: closings
SELECT tenant, line, mark FROM closings WHERE tenant = ANY(%(tenants)b::uuid[]);

-- name: key_to_fill
-- One that has room, locked so that two batches do not count the same place twice.
SELECT key_id, tenant, kind, period, epoch, wrapped, children FROM wrapping_keys
WHERE tenant = %(tenant)s AND kind = %(kind)s AND children < %(limit)s
ORDER BY children DESC LIMIT 1 FOR UPDATE;

-- name: count_children!
UPDATE wrapping_keys SET children = wrapping_keys.children + given.added
FROM unnest(%(key_ids)b::uuid[], %(added)b::integer[]) AS given (key_id, added)
WHERE wrapping_keys.key_id = given.key_id;

-- name: count_key_losses!
UPDATE wrapping_keys SET losses = wrapping_keys.losses + given.lost
FROM unnest(%(key_ids)b::uuid[], %(lost)b::integer[]) AS given (key_id, lost)
WHERE wrapping_keys.key_id = given.key_id;

-- name: count_subject_losses!
UPDATE subjects SET losses = subjects.losses + given.lost
FROM unnest(%(subject_ids)b::uuid[], %(lost)b::integer[]) AS given (subject_id, lost)
WHERE subjects.subject_id = given.subject_id;

-- name: insert_subjects!
INSERT INTO subjects (subject_id, tenant, profile, parent, agent, upstream, bound, wrapped)
SELECT given.subject_id, %(tenant)s, given.profile, given.parent, given.agent, given.upstream, given.bound,
       given.wrapped
FROM unnest(%(subject_ids)b::uuid[], %(profiles)b::uuid[], %(parents)b::uuid[], %(agents)b::boolean[],
            %(upstreams)b::boolean[], %(bound)b::bytea[], %(wrapped)b::bytea[])
     AS given (subject_id, profile, parent, agent, upstream, bound, wrapped)
-- Ids are random, so the order of the file does not say who came first.
ORDER BY given.subject_id;

-- name: insert_things!
INSERT INTO things (thing_id, tenant, kind, owner, parent)
SELECT given.thing_id, %(tenant)s, given.kind, given.owner, given.parent
FROM unnest(%(thing_ids)b::uuid[], %(kinds)b::text[], %(owners)b::uuid[], %(parents)b::uuid[])
     AS given (thing_id, kind, owner, parent);

-- name: place_things!
-- A thing that was begun is opened now, or hangs elsewhere from now on.
UPDATE things SET owner = given.owner, parent = given.parent
FROM unnest(%(thing_ids)b::uuid[], %(owners)b::uuid[], %(parents)b::uuid[]) AS given (thing_id, owner, parent)
WHERE things.thing_id = given.thing_id AND things.line IS NULL;

-- name: things_beneath
-- A thing and everything that hangs in it.
WITH RECURSIVE beneath AS (
    SELECT thing_id FROM things WHERE thing_id = %(thing_id)s
    UNION
    SELECT things.thing_id FROM beneath JOIN things ON things.parent = beneath.thing_id
)
SELECT thing_id, kind, line FROM beneath JOIN things USING (thing_id) ORDER BY thing_id FOR UPDATE OF things;

-- name: insert_leaves!
INSERT INTO leaves (thing_id, key_id, tenant, owner, co_owners, blob, bound, wrapped)
SELECT given.thing_id, given.key_id, %(tenant)s, given.owner, given.co_owners::uuid[], given.blob, given.bound,
       given.wrapped
FROM unnest(%(thing_ids)b::uuid[], %(key_ids)b::uuid[], %(owners)b::uuid[], %(co_owners)b::text[], %(blobs)b::boolean[],
            %(bound)b::bytea[], %(wrapped)b::bytea[])
     AS given (thing_id, key_id, owner, co_owners, blob, bound, wrapped);

-- name: chains
-- The subjects of a batch with everyone they were merged into, and the bucket at the top of each chain.
WITH RECURSIVE chain AS (
    SELECT * FROM subjects WHERE subject_id = ANY(%(subject_ids)b::uuid[])
    UNION
    SELECT above.* FROM chain JOIN subjects AS above ON above.subject_id = chain.parent
)
SELECT chain.subject_id, chain.tenant, chain.profile, chain.parent, chain.agent, chain.upstream, chain.bound, chain.wrapped,
       chain.line, chain.mark, bucket.epoch, bucket.wrapped AS bucket_wrapped
FROM chain LEFT JOIN LATERAL (SELECT epoch, wrapped FROM wrapping_keys WHERE key_id = chain.parent OFFSET 0) AS bucket
     ON true;

-- name: paths
-- Everything between the root epochs and the leaves of a page, in one query. `level` says which columns count.
WITH RECURSIVE wanted AS (
    SELECT * FROM unnest(%(thing_ids)b::uuid[], %(key_ids)b::uuid[]) AS given (thing_id, key_id)
), leaf AS (
    SELECT leaves.* FROM wanted JOIN leaves USING (thing_id, key_id)
), owner AS (
    SELECT owner AS id FROM leaf UNION SELECT unnest(co_owners) FROM leaf
), chain AS (
    SELECT subjects.* FROM owner JOIN subjects ON subjects.subject_id = owner.id
    UNION
    SELECT above.* FROM chain JOIN subjects AS above ON above.subject_id = chain.parent
), top AS (
    SELECT id FROM owner UNION SELECT parent FROM chain
)
SELECT 'leaf' AS level, thing_id, key_id AS id, tenant, owner AS parent, co_owners, bound, wrapped, line, mark,
       NULL::integer AS epoch, NULL::text AS kind FROM leaf
UNION ALL
SELECT 'thing', thing_id, thing_id, tenant, owner, NULL, NULL, NULL, line, mark, NULL, NULL
FROM things WHERE line IS NOT NULL AND thing_id IN (SELECT thing_id FROM wanted)
UNION ALL
SELECT 'subject', NULL, subject_id, tenant, parent, NULL, bound, wrapped, line, mark, NULL, NULL FROM chain
UNION ALL
SELECT 'key', NULL, key_id, tenant, NULL, NULL, NULL, wrapped, NULL, NULL, epoch, kind
FROM top JOIN wrapping_keys ON wrapping_keys.key_id = top.id
UNION ALL
SELECT 'closing', NULL, tenant, tenant, NULL, NULL, NULL, NULL, line, mark, NULL, NULL
FROM closings WHERE tenant = %(tenant)s OR tenant IN (SELECT tenant FROM leaf);

-- name: things_by_id
SELECT thing_id, tenant, kind, owner, parent, line, mark FROM things WHERE thing_id = ANY(%(thing_ids)b::uuid[]);

-- name: hold_subjects
-- A batch holds its subjects until the log has committed; a shred waits for it. Says how many of them were shredded: all
-- are locked before they are counted.
SELECT count(line) AS gone FROM (
    SELECT line FROM subjects WHERE subject_id = ANY(%(subject_ids)b::uuid[]) ORDER BY subject_id FOR SHARE
) AS held;

-- name: hold_things
SELECT thing_id, line IS NULL AS living, owner FROM things
WHERE thing_id = ANY(%(thing_ids)b::uuid[]) ORDER BY thing_id FOR SHARE;

-- name: take_subjects
SELECT subject_id, line IS NULL AS living, parent, upstream,
       EXISTS (SELECT 1 FROM subjects AS above WHERE above.subject_id = subjects.parent) AS merged FROM subjects
WHERE subject_id = ANY(%(subject_ids)b::uuid[]) ORDER BY subject_id FOR UPDATE;

-- name: take_things
SELECT thing_id, line IS NULL AS living, owner FROM things
WHERE thing_id = ANY(%(thing_ids)b::uuid[]) ORDER BY thing_id FOR UPDATE;

-- name: mark_agents!
UPDATE subjects SET agent = true WHERE subject_id = ANY(%(subject_ids)b::uuid[]) AND NOT agent;

-- name: unmark_agents!
UPDATE subjects SET agent = false WHERE subject_id = ANY(%(subject_ids)b::uuid[]) AND agent;

-- name: mark_upstream!
UPDATE subjects SET upstream = true WHERE subject_id = ANY(%(subject_ids)b::uuid[]) AND NOT upstream;

-- name: next_issue
-- Last in its transaction: whoever comes next waits for the commit.
UPDATE issued SET issue = issue + 1 RETURNING issue;

-- name: accept_issue!
UPDATE issued SET issue = greatest(issue, %(issue)s);

-- name: rewind_kept!
UPDATE kept SET position = %(head)s WHERE position > %(head)s;

-- name: known_ids
SELECT subject_id AS id FROM subjects WHERE subject_id = ANY(%(ids)b::uuid[])
UNION ALL SELECT thing_id FROM things WHERE thing_id = ANY(%(ids)b::uuid[]);

-- name: close_shred!
UPDATE shreds SET step = 'finished', line = %(line)s, destroyed_at = %(at)s WHERE shred_id = %(shred_id)s;

-- name: last_issue
SELECT issue FROM issued;

-- name: everyone_merged
-- A person and everyone who was ever merged into that person.
WITH RECURSIVE merged AS (
    SELECT subject_id, tenant, profile, parent, agent, line FROM subjects WHERE subject_id = %(subject_id)s
    UNION
    SELECT below.subject_id, below.tenant, below.profile, below.parent, below.agent, below.line
    -- OFFSET 0 has each looked up by its index: a bucket has so many children that the planner would read everybody.
    FROM merged CROSS JOIN LATERAL (SELECT * FROM subjects WHERE parent = merged.subject_id OFFSET 0) AS below
)
SELECT * FROM merged ORDER BY subject_id;

-- name: destroy_subjects!
UPDATE subjects SET wrapped = NULL, line = given.line, mark = given.mark
FROM unnest(%(subject_ids)b::uuid[], %(lines)b::bigint[], %(marks)b::bytea[]) AS given (subject_id, line, mark)
WHERE subjects.subject_id = given.subject_id AND subjects.line IS NULL;

-- name: destroy_thing!
UPDATE things SET line = %(line)s, mark = %(mark)s WHERE thing_id = %(thing_id)s AND line IS NULL;

-- name: leaves_of_thing
SELECT thing_id, key_id, tenant, owner, co_owners, blob, bound, wrapped, line, mark FROM leaves WHERE thing_id = %(thing_id)s;

-- name: leaves_of_things
-- Where the leaves of some things were hung, dead ones too.
SELECT thing_id, key_id, tenant, owner, co_owners, bound FROM leaves WHERE thing_id = ANY(%(thing_ids)b::uuid[]);

-- name: owners_of_leaves
-- Whose the leaves of some things are, dead ones too.
SELECT key_id, owner, co_owners FROM leaves WHERE thing_id = ANY(%(thing_ids)b::uuid[]);

-- name: destroy_leaves_of_thing!
UPDATE leaves SET wrapped = NULL WHERE thing_id = %(thing_id)s AND wrapped IS NOT NULL;

-- name: sweep_leaves!
-- The keys beneath shredded subjects, a slice at a time.
UPDATE leaves SET wrapped = NULL
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM leaves
    WHERE (owner = ANY(%(owners)b::uuid[]) OR co_owners && %(owners)b::uuid[]) AND wrapped IS NOT NULL
    LIMIT %(limit)s FOR UPDATE));

-- name: things_of_owners
SELECT thing_id, kind, line IS NULL AS living FROM things WHERE owner = ANY(%(owners)b::uuid[]) ORDER BY thing_id;

-- name: set_thing_owner!
UPDATE things SET owner = %(owner)s WHERE thing_id = %(thing_id)s AND owner <> %(owner)s AND line IS NULL;

-- name: rewrap_leaf!
UPDATE leaves SET co_owners = %(co_owners)s, bound = %(bound)s, wrapped = %(wrapped)s
WHERE thing_id = %(thing_id)s AND key_id = %(key_id)s AND wrapped IS NOT NULL
  AND co_owners IS NOT DISTINCT FROM %(expected)s::uuid[];

-- name: destroy_leaf!
UPDATE leaves SET wrapped = NULL, line = %(line)s, mark = %(mark)s
WHERE thing_id = %(thing_id)s AND key_id = %(key_id)s AND line IS NULL;

-- name: reparent_subject!
UPDATE subjects SET parent = %(parent)s, bound = %(bound)s, wrapped = %(wrapped)s
WHERE subject_id = %(subject_id)s AND wrapped IS NOT NULL;

-- name: kept_position
SELECT position FROM kept FOR UPDATE;

-- name: kept_now
SELECT position FROM kept;

-- name: advance_kept!
UPDATE kept SET position = greatest(position, %(position)s);

-- name: insert_shred!
INSERT INTO shreds (shred_id, tenant, kind, target, targets, profile, ground, step, begun_at)
VALUES (%(shred_id)s, %(tenant)s, %(kind)s, %(target)s, %(targets)s, %(profile)s, %(ground)s, 'intended', %(begun_at)s);

-- name: shred_by_id
SELECT * FROM shreds WHERE shred_id = %(shred_id)s FOR UPDATE;

-- name: unfinished_shreds
SELECT * FROM shreds WHERE step NOT IN ('finished', 'abandoned') ORDER BY begun_at, shred_id;

-- name: told_and_intended
-- Shreds and closings that a restored copy has learned of from the ledger, and whose keys stand still.
SELECT shred_id FROM shreds WHERE step = 'intended' AND ground = %(ground)s LIMIT 1;

-- name: begun_and_not_ended
-- How far what was begun is; the rest of a row is no business of intake.
SELECT shred_id, step FROM shreds WHERE step NOT IN ('finished', 'abandoned');

-- name: shred_of_target
SELECT * FROM shreds WHERE targets @> ARRAY[%(target)s]::uuid[] AND line IS NOT NULL ORDER BY line LIMIT 1;

-- name: join_shred!
-- Somebody who was merged into a shredded person goes with that shred.
UPDATE shreds SET targets = targets || %(joining)s::uuid[] WHERE shred_id = %(shred_id)s;

-- name: finished_shreds
SELECT * FROM shreds WHERE step NOT IN ('intended', 'abandoned') AND tenant = %(tenant)s ORDER BY line;

-- name: step_shred!
UPDATE shreds SET step = %(step)s, line = coalesce(%(line)s, line),
       destroyed_at = coalesce(%(destroyed_at)s, destroyed_at), targets = coalesce(%(targets)s, targets),
       counts = counts || %(counts)s, news_until = coalesce(%(news_until)s, news_until), epoch = coalesce(epoch, %(epoch)s)
WHERE shred_id = %(shred_id)s;

-- name: shred_of_certificate
SELECT shred_id, certificate FROM shreds WHERE tenant = %(tenant)s AND certificate ->> 'certificate_id' = %(certificate)s;

-- name: certify_shred!
UPDATE shreds SET step = 'finished', certificate = %(certificate)s WHERE shred_id = %(shred_id)s;

-- name: head_counts
SELECT (SELECT count(*) FROM subjects WHERE line IS NULL) AS subjects,
       (SELECT count(*) FROM subjects WHERE line IS NOT NULL) AS shredded,
       (SELECT count(*) FROM things) AS things,
       (SELECT count(*) FROM wrapping_keys WHERE kind = 'bucket') AS buckets,
       (SELECT count(*) FROM fences) AS fences;

-- name: advance_kept_from!
-- Whoever finds the row busy leaves it to the keeper that holds it.
UPDATE kept SET position = %(newest)s
WHERE one IN (SELECT one FROM kept WHERE position >= %(head)s AND position < %(newest)s FOR UPDATE SKIP LOCKED);

-- name: leaf
SELECT thing_id, key_id, tenant, owner, co_owners, wrapped, line, mark FROM leaves
WHERE thing_id = %(thing_id)s AND key_id = %(key_id)s;

-- name: line_of_subject
-- The ledger line that ended a person, or ended somebody the person was merged into.
WITH RECURSIVE chain AS (
    SELECT subject_id, parent, line FROM subjects WHERE subject_id = %(subject_id)s
    UNION
    SELECT above.subject_id, above.parent, above.line FROM chain JOIN subjects AS above ON above.subject_id = chain.parent
)
SELECT max(line) AS line FROM chain;

-- name: take_leaves_of_thing
SELECT key_id FROM leaves WHERE thing_id = %(thing_id)s ORDER BY key_id FOR UPDATE;

-- name: last_line
SELECT coalesce(max(line), 0) AS line FROM shreds;

-- name: shreds_from_line
-- The shreds that were carried out with a line of the ledger or a later one.
SELECT shred_id, tenant, kind, target, targets, line, destroyed_at FROM shreds WHERE line >= %(line)s ORDER BY line, shred_id;

-- name: lines_left_out
-- From which line to which, below the last one, no shred was carried out. Only where the counts do not say that there is none
-- are lines looked at one by one: of 1,000,000 that takes a second.
SELECT before + 1 AS first, line - 1 AS last
FROM (SELECT line, lag(line, 1, 0::bigint) OVER (ORDER BY line) AS before FROM shreds WHERE line IS NOT NULL) AS numbered
WHERE line > before + 1
  AND (SELECT count(*) <> max(line) OR sum(line) <> max(line)::numeric * (max(line) + 1) / 2 FROM shreds WHERE line IS NOT NULL)
ORDER BY line;

-- name: effect_on_leaves
-- What goes with these people: every living leaf that one of them owns; those outside their own things and profiles
-- are what changes for others.
WITH going AS (
    SELECT leaves.thing_id, leaves.blob, coalesce(things.owner = ANY(%(owners)b::uuid[]), false)
                            OR leaves.thing_id = ANY(%(profiles)b::uuid[]) AS own
    FROM leaves LEFT JOIN things USING (thing_id)
    WHERE (leaves.owner = ANY(%(owners)b::uuid[]) OR leaves.co_owners && %(owners)b::uuid[]) AND leaves.wrapped IS NOT NULL
)
SELECT count(*) FILTER (WHERE NOT blob) AS facts, count(*) FILTER (WHERE blob) AS files,
       count(DISTINCT thing_id) FILTER (WHERE NOT own) AS others_tickets,
       count(*) FILTER (WHERE NOT own AND NOT blob) AS others_entries
FROM going;

-- name: count_facts
-- The facts of `effect_on_leaves`, and nothing else.
SELECT count(*) AS facts FROM leaves
WHERE (owner = ANY(%(owners)b::uuid[]) OR co_owners && %(owners)b::uuid[]) AND wrapped IS NOT NULL AND NOT blob;

-- name: residue_of_keys
-- Key material that a shred should have dropped.
SELECT (SELECT count(*) FROM subjects WHERE subject_id = ANY(%(ids)b::uuid[]) AND wrapped IS NOT NULL)
     + (SELECT count(*) FROM leaves WHERE (owner = ANY(%(ids)b::uuid[]) OR co_owners && %(ids)b::uuid[]
                                           OR thing_id = ANY(%(things)b::uuid[])) AND wrapped IS NOT NULL) AS found;

-- name: residue_of_register
-- Ways from a reference to somebody or something that was shredded.
SELECT count(*) AS found FROM register_backs WHERE owner = ANY(ARRAY(
    SELECT unnest(%(ids)b::uuid[]) UNION SELECT unnest(%(things)b::uuid[])
    UNION SELECT thing_id FROM things WHERE owner = ANY(%(ids)b::uuid[])
    UNION SELECT profile FROM subjects WHERE subject_id = ANY(%(ids)b::uuid[])));

-- name: profiles_of
SELECT profile FROM subjects WHERE subject_id = ANY(%(subject_ids)b::uuid[]);

-- name: expired_fence_keys
-- Fence keys of a tenant whose quarter is long over; with the key, its fences are past recognising.
DELETE FROM wrapping_keys WHERE kind = 'fence' AND period < %(oldest)s RETURNING tenant, period;

-- name: unknown_lines
-- Which of these ledger lines the key database has never carried out, nor is about to.
SELECT given.shred FROM unnest(%(shreds)b::uuid[]) AS given (shred)
WHERE NOT EXISTS (SELECT 1 FROM shreds WHERE shreds.shred_id = given.shred AND shreds.step <> 'abandoned');

-- name: revive_shred!
-- A shred that was given up, and whose line stands all the same.
UPDATE shreds SET step = 'intended' WHERE shred_id = %(shred_id)s AND step = 'abandoned';

-- name: living_streams
-- Of some things and profiles, those in which a key lives.
SELECT DISTINCT thing_id FROM leaves WHERE thing_id = ANY(%(things)b::uuid[]) AND wrapped IS NOT NULL;

-- name: streams_of_owners
SELECT DISTINCT thing_id FROM leaves
WHERE owner = ANY(%(owners)b::uuid[]) OR co_owners && %(owners)b::uuid[] ORDER BY thing_id;

-- name: destroy_records
-- The keys of quarantined records; nothing will ask for them again, so no row has to stay.
WITH gone AS (
    DELETE FROM leaves USING wrapping_keys AS day
    WHERE leaves.thing_id = ANY(%(things)b::uuid[]) AND day.key_id = leaves.owner AND day.kind = 'day'
    RETURNING leaves.key_id, leaves.owner
), lost AS (
    UPDATE wrapping_keys SET losses = losses + counted.children
    FROM (SELECT owner, count(*) AS children FROM gone GROUP BY owner) AS counted
    WHERE wrapping_keys.key_id = counted.owner
)
SELECT key_id FROM gone;

-- name: count_dropped!
-- How many quarantined records went with a shred, in the transaction in which their keys go.
UPDATE shreds SET counts = jsonb_set(
    counts, '{quarantine_dropped}', to_jsonb(coalesce((counts ->> 'quarantine_dropped')::integer, 0) + %(dropped)s::integer))
WHERE shred_id = %(shred_id)s;

-- name: expire_days!
-- With the key of its day, every record that was quarantined on it is past opening.
WITH gone AS (DELETE FROM wrapping_keys WHERE kind = 'day' AND period < %(oldest)s RETURNING key_id)
DELETE FROM leaves USING gone WHERE leaves.owner = gone.key_id;

-- name: files_of
-- The files that belong to some people, or hang in some things.
SELECT thing_id, key_id FROM leaves
WHERE blob AND (owner = ANY(%(ids)b::uuid[]) OR co_owners && %(ids)b::uuid[] OR thing_id = ANY(%(things)b::uuid[]))
ORDER BY key_id;
