-- name: append
-- Versions go on from the highest of each stream; a fact that stands on the log already is left out.
WITH given AS (
    SELECT * FROM unnest(%(streams)b::uuid[], %(topics)b::text[], %(states)b::bytea[], %(tenants)b::uuid[],
                         %(event_ids)b::uuid[], %(digests)b::bytea[], %(ordinals)b::smallint[],
                         %(occurred)b::timestamptz[], %(owners)b::text[], %(kept)b::boolean[], %(seals)b::bytea[])
         WITH ORDINALITY
         AS given (stream, topic, state, tenant, event_id, digest, ordinal, occurred, owners, kept, seal, place)
), heads AS (
    SELECT stream, (SELECT max(originator_version) FROM facts_events WHERE originator_id = stream) AS version
    FROM (SELECT DISTINCT stream FROM given) AS streams
)
INSERT INTO facts_events (originator_id, originator_version, topic, state, tenant, event_id, record_digest, ordinal,
                          occurred_at, owners, kept, seal)
SELECT given.stream, coalesce(heads.version, 0) + row_number() OVER (PARTITION BY given.stream ORDER BY given.place),
       given.topic, given.state, given.tenant, given.event_id, given.digest, given.ordinal, given.occurred,
       given.owners::uuid[], given.kept, given.seal
FROM given JOIN heads USING (stream)
ORDER BY given.place
ON CONFLICT (record_digest, ordinal) DO NOTHING
RETURNING record_digest, ordinal, notification_id;

-- name: head
SELECT coalesce(max(notification_id), 0) AS head FROM facts_events;

-- name: page
SELECT notification_id, originator_id, originator_version, tenant, event_id, topic, ordinal, occurred_at, recorded_at,
       state, owners, seal
FROM facts_events WHERE notification_id > %(after)s ORDER BY notification_id LIMIT %(limit)s;

-- name: page_of
SELECT notification_id, originator_id, originator_version, tenant, event_id, topic, ordinal, occurred_at, recorded_at,
       state, owners, seal
FROM facts_events WHERE notification_id > %(after)s AND topic = ANY(%(types)b::text[])
ORDER BY notification_id LIMIT %(limit)s;

-- name: page_for_keeping
SELECT notification_id, originator_id, originator_version, tenant, event_id, topic, ordinal, occurred_at, recorded_at,
       state, owners, seal
FROM facts_events
WHERE notification_id > %(after)s AND kept
ORDER BY notification_id LIMIT %(limit)s;

-- name: stream
SELECT notification_id, originator_id, originator_version, tenant, event_id, topic, ordinal, occurred_at, recorded_at,
       state, owners, seal
FROM facts_events WHERE originator_id = %(stream)s ORDER BY notification_id;

-- name: streams
SELECT notification_id, originator_id, originator_version, tenant, event_id, topic, ordinal, occurred_at, recorded_at,
       state, owners, seal
FROM facts_events WHERE originator_id = ANY(%(things)b::uuid[]) ORDER BY notification_id;

-- name: newest
-- The position of the newest fact of each of some streams.
SELECT given.thing, (SELECT max(notification_id) FROM facts_events WHERE originator_id = given.thing) AS position
FROM unnest(%(things)b::uuid[]) AS given (thing);

-- name: seals
-- The seals at some places of the log, for whoever shows a read model: it says where they stand.
SELECT notification_id AS position, seal
FROM facts_events
WHERE notification_id = ANY(%(positions)s::bigint[]) AND tenant = %(tenant)s AND seal IS NOT NULL;

-- name: newest_sealed
-- The newest fact that has a seal, of each of some streams.
SELECT found.* FROM unnest(%(things)b::uuid[]) AS given (thing), LATERAL (
    SELECT notification_id, originator_id, originator_version, tenant, event_id, topic, ordinal, occurred_at, recorded_at,
           state, owners, seal
    FROM facts_events WHERE originator_id = given.thing AND seal IS NOT NULL ORDER BY originator_version DESC LIMIT 1
) AS found ORDER BY found.notification_id;

-- name: stored_already
SELECT DISTINCT record_digest FROM facts_events WHERE record_digest = ANY(%(digests)b::bytea[]);

-- name: store_positions
-- Each partition whose stored position is the expected one, or that has none and none is expected.
WITH given AS (
    SELECT * FROM unnest(%(topic_ids)b::uuid[], %(partitions)b::integer[], %(offsets)b::bigint[], %(expected)b::bigint[],
                         %(leader_epochs)b::integer[])
        AS given (topic_id, partition, next_offset, expected, leader_epoch)
), begun AS (
    INSERT INTO positions (topic_id, partition, next_offset, leader_epoch)
    SELECT topic_id, partition, next_offset, leader_epoch FROM given WHERE expected IS NULL
    ON CONFLICT DO NOTHING RETURNING partition
), moved AS (
    UPDATE positions SET next_offset = given.next_offset, leader_epoch = given.leader_epoch FROM given
    WHERE positions.topic_id = given.topic_id AND positions.partition = given.partition
        AND positions.next_offset = given.expected
    RETURNING positions.partition
)
SELECT partition FROM begun UNION ALL SELECT partition FROM moved;

-- name: stored_positions
SELECT partition, next_offset FROM positions WHERE topic_id = %(topic_id)s;

-- name: stored_epochs
SELECT partition, leader_epoch FROM positions WHERE topic_id = %(topic_id)s AND leader_epoch >= 0;

-- name: heartbeats
SELECT partition, beaten_to FROM positions WHERE topic_id = %(topic_id)s AND beaten_to IS NOT NULL;

-- name: note_heartbeat!
UPDATE positions SET beaten_to = %(offset)s WHERE topic_id = %(topic_id)s AND partition = %(partition)s;

-- name: topics_read
SELECT DISTINCT topic_id FROM positions;

-- name: see_issue!
UPDATE issue_seen SET issue = %(issue)s WHERE issue < %(issue)s;

-- name: line_seen
SELECT line FROM issue_seen;

-- name: see_line!
UPDATE issue_seen SET line = greatest(line, %(line)s);

-- name: accept_loss!
INSERT INTO accepted_losses (issued, seen, position)
SELECT %(issued)s, %(seen)s, coalesce(max(notification_id), 0) FROM facts_events;

-- name: accepted_up_to
SELECT coalesce(max(position), 0) AS position FROM accepted_losses;

-- name: issue_seen
SELECT issue FROM issue_seen;

-- name: quarantine!
INSERT INTO quarantine (quarantine_id, tenant, key_id, code, path, waits_for, seal, topic, partition, record_offset)
SELECT given.id, given.tenant, given.key_id, given.code, given.path,
       (SELECT array_agg(decode(hex, 'hex')) FROM unnest(string_to_array(given.waits_for, ',')) AS hex), given.seal,
       given.topic, given.partition, given.record_offset
FROM unnest(%(ids)b::uuid[], %(tenants)b::uuid[], %(key_ids)b::uuid[], %(codes)b::text[], %(paths)b::text[],
            %(waits_for)b::text[], %(seals)b::bytea[], %(topics)b::text[], %(partitions)b::integer[],
            %(offsets)b::bigint[])
     AS given (id, tenant, key_id, code, path, waits_for, seal, topic, partition, record_offset)
ON CONFLICT DO NOTHING;

-- name: waiting_for
-- A page of what waits for one of these. It ends early where the seals would be more than so many bytes together.
SELECT quarantine_id, tenant, key_id, seal, arrived, topic, partition, record_offset
FROM (
    SELECT page.*, sum(octet_length(seal)) OVER (ORDER BY arrived) - octet_length(seal) AS bytes_before
    FROM (
        SELECT * FROM quarantine
        WHERE tenant = %(tenant)s AND waits_for && %(indexes)b::bytea[] AND arrived > %(after)s
        ORDER BY arrived LIMIT %(limit)s
    ) AS page
) AS weighed
WHERE bytes_before < %(bytes)s
ORDER BY arrived;

-- name: waited_for
SELECT DISTINCT tenant, unnest(waits_for) AS waits_for FROM quarantine WHERE waits_for IS NOT NULL;

-- name: wait_on!
-- A record that waited was judged again and still cannot be taken.
UPDATE quarantine SET code = given.code, path = given.path,
       waits_for = (SELECT array_agg(decode(hex, 'hex')) FROM unnest(string_to_array(given.waits_for, ',')) AS hex)
FROM unnest(%(ids)b::uuid[], %(codes)b::text[], %(paths)b::text[], %(waits_for)b::text[])
     AS given (id, code, path, waits_for)
WHERE quarantine.quarantine_id = given.id;

-- name: leave_quarantine!
DELETE FROM quarantine WHERE quarantine_id = ANY(%(ids)b::uuid[]);

-- name: leave_to_keeper!
-- Who may not destroy leaves the keys of these records to whoever may.
INSERT INTO quarantine_left (quarantine_id) SELECT * FROM unnest(%(ids)b::uuid[]) ON CONFLICT DO NOTHING;

-- name: left_to_keeper
-- One that lies in the quarantine still is left there: nothing was taken up.
SELECT quarantine_id FROM quarantine_left
WHERE NOT EXISTS (SELECT FROM quarantine WHERE quarantine.quarantine_id = quarantine_left.quarantine_id)
LIMIT %(limit)s;

-- name: forget_left!
DELETE FROM quarantine_left WHERE quarantine_id = ANY(%(ids)b::uuid[]);

-- name: quarantined
SELECT code, path, count(*) AS records FROM quarantine GROUP BY code, path ORDER BY code, path;

-- name: count_refusals!
INSERT INTO refusals (tenant, day, code, refused)
SELECT given.tenant, %(day)s, given.code, given.refused
FROM unnest(%(tenants)b::uuid[], %(codes)b::text[], %(refused)b::bigint[]) AS given (tenant, code, refused)
ON CONFLICT (tenant, day, code) DO UPDATE SET refused = refusals.refused + excluded.refused;

-- name: counts
SELECT (SELECT count(*) FROM facts_events) AS facts,
       (SELECT count(*) FROM quarantine) AS quarantined,
       (SELECT coalesce(sum(refused), 0)::bigint FROM refusals) AS refused;

-- name: tenants
SELECT tenant_id, name, trash_days, trusts_purges, closed_at FROM tenants ORDER BY name;

-- name: add_tenant!
INSERT INTO tenants (tenant_id, name) VALUES (%(tenant_id)s, %(name)s) ON CONFLICT (name) DO NOTHING;

-- name: declare_words!
INSERT INTO vocabulary (tenant_id, vocabulary, word)
SELECT %(tenant_id)s, given.vocabulary, given.word
FROM unnest(%(vocabularies)b::text[], %(words)b::text[]) AS given (vocabulary, word)
ON CONFLICT DO NOTHING;

-- name: set_trash!
UPDATE tenants SET trash_days = coalesce(%(trash_days)s, trash_days),
                   trusts_purges = coalesce(%(trusts_purges)s, trusts_purges)
WHERE tenant_id = %(tenant_id)s;

-- name: words
SELECT tenant_id, vocabulary, word FROM vocabulary ORDER BY tenant_id, vocabulary, word;

-- name: write_access_line!
INSERT INTO access_lines (access_id, tenant, at, what, ids, words)
VALUES (%(access_id)s, %(tenant)s, %(at)s, %(what)s, %(ids)b::uuid[], %(words)s);

-- name: without_facts
-- Things that were given an id and a key, and whose first fact never came to the log.
SELECT given.thing FROM unnest(%(things)b::uuid[]) AS given (thing)
WHERE NOT EXISTS (SELECT 1 FROM facts_events WHERE originator_id = given.thing);

-- name: quarantine_list
SELECT quarantine_id, tenant, code, path, at, waits_for, arrived, topic, partition, record_offset FROM quarantine
WHERE tenant = %(tenant)s AND arrived > %(after)s
  AND (%(codes)s::text[] IS NULL OR code = ANY(%(codes)s::text[]))
  AND (%(topics)s::text[] IS NULL OR topic = ANY(%(topics)s::text[]))
  AND (%(ids)s::uuid[] IS NULL OR quarantine_id = ANY(%(ids)s::uuid[]))
ORDER BY arrived LIMIT %(limit)s;

-- name: quarantine_summary
SELECT code, path, topic, count(*) AS records, min(at) AS oldest, max(at) AS newest FROM quarantine
WHERE tenant = %(tenant)s
  AND (%(codes)s::text[] IS NULL OR code = ANY(%(codes)s::text[]))
  AND (%(topics)s::text[] IS NULL OR topic = ANY(%(topics)s::text[]))
GROUP BY code, path, topic ORDER BY code, path, topic;

-- name: quarantine_page
-- A page of records with their seals. It ends early where the seals would be more than so many bytes together.
SELECT quarantine_id, tenant, key_id, code, at, arrived, topic, partition, record_offset, seal
FROM (
    SELECT page.*, sum(octet_length(seal)) OVER (ORDER BY arrived) - octet_length(seal) AS bytes_before
    FROM (
        SELECT * FROM quarantine
        WHERE tenant = %(tenant)s AND arrived > %(after)s
          AND (%(codes)s::text[] IS NULL OR code = ANY(%(codes)s::text[]))
          AND (%(topics)s::text[] IS NULL OR topic = ANY(%(topics)s::text[]))
          AND (%(ids)s::uuid[] IS NULL OR quarantine_id = ANY(%(ids)s::uuid[]))
        ORDER BY arrived LIMIT %(limit)s
    ) AS page
) AS weighed
WHERE bytes_before < %(bytes)s
ORDER BY arrived;

-- name: quarantine_count
SELECT count(*) AS records, max(at) AS newest FROM quarantine WHERE tenant = %(tenant)s;

-- name: expire_quarantine!
DELETE FROM quarantine WHERE at < %(oldest)s;

-- name: begin_blob!
-- A file sets out for the store.
INSERT INTO blobs (blob_id, tenant, thing) VALUES (%(blob_id)s, %(tenant)s, %(thing)s)
ON CONFLICT (blob_id) DO UPDATE SET bytes = NULL, stored_at = now();

-- name: end_blob!
-- A file has come to the store.
UPDATE blobs SET bytes = %(bytes)s, stored_at = now() WHERE blob_id = %(blob_id)s;

-- name: blobs_by_id
SELECT blob_id, tenant, thing, stored_at, bytes FROM blobs WHERE blob_id = ANY(%(blob_ids)b::uuid[]);

-- name: blobs_page
SELECT blob_id, tenant, thing, stored_at, bytes FROM blobs
WHERE tenant = ANY(%(tenants)b::uuid[]) AND (%(after)s::uuid IS NULL OR blob_id > %(after)s)
ORDER BY blob_id LIMIT %(limit)s;

-- name: forget_blobs!
-- What may still be on its way keeps its row, so that a later sweep finds the file if it comes all the same.
DELETE FROM blobs
WHERE blob_id = ANY(%(blob_ids)b::uuid[])
  AND (bytes IS NOT NULL OR stored_at < now() - interval '1 day' OR %(even_if_coming)s);

-- name: count_blobs
SELECT count(*) AS found FROM blobs WHERE blob_id = ANY(%(blob_ids)b::uuid[]);
