-- name: add_recipient!
INSERT INTO recipients (recipient_id, tenant, name, kinds, key_id, public_key, since, added_at)
VALUES (%(recipient_id)s, %(tenant)s, %(name)s, %(kinds)s, %(key_id)s, %(public_key)s, %(since)s, %(at)s);

-- name: recipients_of
-- The recipients of a tenant, or of all. Those that were removed stay, because they were told.
SELECT recipient_id, tenant, name, kinds, key_id, public_key, since, added_at, removed_at FROM recipients
WHERE (%(tenant)s::uuid IS NULL OR tenant = %(tenant)s) AND (%(gone)s OR removed_at IS NULL)
ORDER BY name, added_at;

-- name: remove_recipient!
-- What only this recipient had not answered is answered now; its secret dies.
WITH gone AS (
    UPDATE recipients SET removed_at = %(at)s WHERE recipient_id = %(recipient_id)s AND removed_at IS NULL RETURNING key_id
)
DELETE FROM wrapping_keys USING gone WHERE wrapping_keys.key_id = gone.key_id;

-- name: key_of_news
SELECT outbox.key_id, outbox.tenant, keys.epoch, keys.wrapped
FROM outbox LEFT JOIN wrapping_keys AS keys USING (key_id) WHERE outbox.news_id = %(news_id)s;

-- name: drop_news!
-- News that was never released: the shred was abandoned, or nobody wants to know.
WITH gone AS (
    DELETE FROM outbox WHERE shred = %(shred)s AND number IS NULL RETURNING key_id
)
DELETE FROM wrapping_keys USING gone WHERE wrapping_keys.key_id = gone.key_id;

-- name: drop_untold!
-- Nobody is to be told: nothing has a number upstream, or nobody wants to know any more.
WITH gone AS (
    DELETE FROM outbox WHERE shred = %(shred)s AND number IS NULL AND unnamed = 0
        AND NOT EXISTS (SELECT 1 FROM tellings WHERE tellings.news_id = outbox.news_id) RETURNING key_id
)
DELETE FROM wrapping_keys USING gone WHERE wrapping_keys.key_id = gone.key_id;

-- name: leave_unnamed!
UPDATE outbox SET unnamed = %(unnamed)s WHERE news_id = %(news_id)s;

-- name: insert_news!
INSERT INTO outbox (news_id, tenant, kind, shred, position, person, key_id, made_at)
VALUES (%(news_id)s, %(tenant)s, %(kind)s, %(shred)s, %(position)s, %(person)s, %(key_id)s, %(at)s);

-- name: insert_page!
INSERT INTO outbox_pages (news_id, page, sealed) VALUES (%(news_id)s, %(page)s, %(sealed)s);

-- name: cut_pages!
-- What an attempt that did not come to its end had added.
DELETE FROM outbox_pages WHERE news_id = %(news_id)s AND page >= %(page)s;

-- name: cut_tellings!
DELETE FROM tellings WHERE news_id = %(news_id)s;

-- name: insert_tellings!
INSERT INTO tellings (telling_id, news_id, page, recipient_id)
SELECT * FROM unnest(%(telling_ids)b::uuid[], %(news_ids)b::uuid[], %(pages)b::integer[], %(recipients)b::uuid[]);

-- name: release_news!
-- Of a shred that is certified already, the certificate says less than is known from here on.
UPDATE outbox SET number = nextval('news_number'), deadline = %(deadline)s, recertify = shred IS NOT NULL
WHERE news_id = %(news_id)s AND number IS NULL;

-- name: release_news_of!
UPDATE outbox SET number = nextval('news_number'), deadline = %(deadline)s WHERE shred = %(shred)s AND number IS NULL;

-- name: to_send
-- What is to be sent, in the order in which it came to pass.
SELECT tellings.telling_id, outbox.news_id, outbox.tenant, outbox.kind, outbox.made_at, tellings.page,
       (SELECT count(*) FROM outbox_pages AS all_pages WHERE all_pages.news_id = outbox.news_id) AS pages,
       outbox_pages.sealed, recipients.recipient_id, recipients.name, recipients.public_key,
       keys.key_id, keys.epoch, keys.wrapped,
       secrets.key_id AS secret_id, secrets.epoch AS secret_epoch, secrets.wrapped AS secret_wrapped
FROM tellings
JOIN outbox USING (news_id)
JOIN outbox_pages USING (news_id, page)
JOIN recipients USING (recipient_id)
JOIN wrapping_keys AS keys ON keys.key_id = outbox.key_id
JOIN wrapping_keys AS secrets ON secrets.key_id = recipients.key_id
WHERE tellings.due AND outbox.number IS NOT NULL AND outbox.key_destroyed_at IS NULL
  AND recipients.removed_at IS NULL AND outbox.news_id <> ALL(%(without)s::uuid[])
  AND recipients.recipient_id <> ALL(%(passed_over)s::uuid[])
  AND (%(tenants)s::uuid[] IS NULL OR outbox.tenant = ANY(%(tenants)s::uuid[]))
ORDER BY outbox.number, tellings.page, recipients.recipient_id LIMIT %(limit)s;

-- name: mark_sent!
-- From now on it lies on the topic: in clear where the recipient has no key, and certificates say so.
WITH sent AS (
    UPDATE tellings SET due = false, sent_at = %(at)s WHERE telling_id = ANY(%(telling_ids)b::uuid[]) AND due
    RETURNING news_id, recipient_id
)
UPDATE outbox SET recertify = true
WHERE shred IS NOT NULL AND news_id IN (
    SELECT sent.news_id FROM sent JOIN recipients USING (recipient_id) WHERE recipients.public_key IS NULL);

-- name: send_again
-- Whatever a recipient has not answered goes out once more, as long as there is a key to read it with.
UPDATE tellings SET due = true FROM outbox
WHERE outbox.news_id = tellings.news_id AND outbox.key_destroyed_at IS NULL AND outbox.number IS NOT NULL
  AND tellings.recipient_id = %(recipient_id)s AND (tellings.status IS NULL OR tellings.status = 'failed')
RETURNING tellings.telling_id;

-- name: send_unanswered!
-- Whatever nobody has answered for so long goes out once more: the topic may have lost it before it was read.
UPDATE tellings SET due = true FROM outbox, recipients
WHERE outbox.news_id = tellings.news_id AND outbox.key_destroyed_at IS NULL AND outbox.number IS NOT NULL
  AND recipients.recipient_id = tellings.recipient_id AND recipients.removed_at IS NULL
  AND NOT tellings.due AND tellings.sent_at <= %(sent_before)s
  AND (tellings.status IS NULL OR tellings.status = 'failed');

-- name: overtake_news!
-- News about people who are shredded ends here: that they are is the news.
WITH over AS (
    SELECT news_id, key_id FROM outbox WHERE person = ANY(%(people)s::uuid[]) AND key_destroyed_at IS NULL
    ORDER BY news_id FOR UPDATE
), without_keys AS (
    DELETE FROM wrapping_keys USING over WHERE wrapping_keys.key_id = over.key_id
), without_pages AS (
    DELETE FROM outbox_pages USING over WHERE outbox_pages.news_id = over.news_id
)
UPDATE outbox SET key_destroyed_at = %(at)s, overtaken = true FROM over WHERE outbox.news_id = over.news_id;

-- name: asked
-- Who was told under these ids, with the secret that signs the answer.
SELECT tellings.telling_id, tellings.news_id, tellings.status, recipients.tenant, keys.key_id, keys.epoch, keys.wrapped
FROM tellings JOIN recipients USING (recipient_id) JOIN wrapping_keys AS keys ON keys.key_id = recipients.key_id
WHERE tellings.telling_id = ANY(%(telling_ids)b::uuid[]) AND recipients.removed_at IS NULL
ORDER BY tellings.telling_id FOR UPDATE OF tellings;

-- name: answer!
-- Done is done: an answer that arrives late, or is played again, takes nothing back.
UPDATE tellings SET status = given.status, answered_at = %(at)s
FROM unnest(%(telling_ids)b::uuid[], %(statuses)b::text[]) AS given (telling_id, status)
WHERE tellings.telling_id = given.telling_id AND (tellings.status IS NULL OR tellings.status = 'failed');

-- name: look_again!
UPDATE outbox SET recertify = true WHERE news_id = ANY(%(news_ids)b::uuid[]) AND shred IS NOT NULL;

-- name: close_news
-- With its key, news is past reading: every recipient has answered, or the deadline is over.
WITH over AS (
    SELECT outbox.news_id, outbox.key_id FROM outbox
    WHERE outbox.key_destroyed_at IS NULL AND outbox.number IS NOT NULL
      AND (outbox.deadline <= %(at)s OR NOT EXISTS (
          SELECT 1 FROM tellings JOIN recipients USING (recipient_id)
          WHERE tellings.news_id = outbox.news_id AND recipients.removed_at IS NULL
            AND (tellings.status IS NULL OR tellings.status = 'failed')))
    ORDER BY outbox.news_id FOR UPDATE OF outbox
), without_keys AS (
    DELETE FROM wrapping_keys USING over WHERE wrapping_keys.key_id = over.key_id
), without_pages AS (
    DELETE FROM outbox_pages USING over WHERE outbox_pages.news_id = over.news_id
)
UPDATE outbox SET key_destroyed_at = %(at)s, recertify = shred IS NOT NULL
FROM over WHERE outbox.news_id = over.news_id
RETURNING outbox.news_id,
          EXISTS (SELECT 1 FROM tellings JOIN recipients USING (recipient_id)
                  WHERE tellings.news_id = outbox.news_id AND tellings.sent_at IS NULL
                    AND recipients.removed_at IS NULL) AS unsent;

-- name: to_recertify
SELECT news_id, shred FROM outbox WHERE recertify ORDER BY news_id LIMIT %(limit)s FOR UPDATE;

-- name: looked!
UPDATE outbox SET recertify = false WHERE news_id = ANY(%(news_ids)b::uuid[]);

-- name: told_of_shred
-- How many were told of a shred, how many of them have acknowledged all of it, and how many read it in clear.
WITH news AS (
    SELECT * FROM outbox WHERE shred = %(shred)s AND number IS NOT NULL
), per AS (
    SELECT tellings.recipient_id, max(tellings.sent_at) AS sent_at,
           bool_and(tellings.status IS NOT NULL AND tellings.status <> 'failed') AS acknowledged
    FROM tellings JOIN news USING (news_id) GROUP BY tellings.recipient_id
)
SELECT count(*) AS news, max(deadline) AS deadline, coalesce(sum(unnamed), 0) AS unnamed,
       CASE WHEN bool_and(key_destroyed_at IS NOT NULL) THEN max(key_destroyed_at) END AS key_destroyed_at,
       (SELECT count(*) FROM per) AS recipients,
       (SELECT count(*) FROM per WHERE acknowledged) AS acknowledged,
       (SELECT count(*) FROM per JOIN recipients USING (recipient_id)
        WHERE public_key IS NULL AND sent_at IS NOT NULL) AS in_clear,
       (SELECT max(sent_at) FROM per JOIN recipients USING (recipient_id)
        WHERE public_key IS NULL) AS in_clear_since
FROM news;

-- name: passed_over
-- What is to be sent for tenants that are not known.
SELECT count(*) AS records FROM tellings JOIN outbox USING (news_id) JOIN recipients USING (recipient_id)
WHERE tellings.due AND outbox.number IS NOT NULL AND outbox.key_destroyed_at IS NULL
  AND recipients.removed_at IS NULL AND outbox.tenant <> ALL(%(tenants)s::uuid[]);

-- name: standing
-- What each recipient of a tenant was told, one row a news, and what became of it.
SELECT recipients.recipient_id, recipients.name, outbox.news_id, outbox.kind, outbox.shred, outbox.made_at,
       outbox.deadline, outbox.key_destroyed_at, count(*) AS records,
       count(*) FILTER (WHERE tellings.sent_at IS NOT NULL) AS sent,
       count(*) FILTER (WHERE tellings.status IN ('done', 'unknown')) AS acknowledged,
       count(*) FILTER (WHERE tellings.status = 'failed') AS failed, max(tellings.answered_at) AS answered_at,
       outbox.overtaken,
       recipients.removed_at IS NULL AND outbox.deadline <= %(at)s
           AND NOT bool_and(coalesce(tellings.status IN ('done', 'unknown'), false)) AS overdue
FROM recipients JOIN tellings USING (recipient_id) JOIN outbox USING (news_id)
WHERE recipients.tenant = %(tenant)s AND outbox.number IS NOT NULL
  AND (%(recipient)s::uuid IS NULL OR recipients.recipient_id = %(recipient)s)
  AND (%(shred)s::uuid IS NULL OR outbox.shred = %(shred)s)
GROUP BY recipients.recipient_id, outbox.news_id
ORDER BY outbox.number, recipients.name;

-- name: followed
SELECT position FROM outbox_follows FOR UPDATE;

-- name: follow!
UPDATE outbox_follows SET position = greatest(position, %(position)s);

-- name: reply_positions
SELECT partition, next_offset FROM reply_positions WHERE topic_id = %(topic_id)s;

-- name: store_reply_positions!
-- It may go back: where the topic lost records, and where two read at once. An answer noted twice changes nothing.
INSERT INTO reply_positions (topic_id, partition, next_offset)
SELECT %(topic_id)s, * FROM unnest(%(partitions)b::integer[], %(offsets)b::bigint[])
ON CONFLICT (topic_id, partition) DO UPDATE SET next_offset = excluded.next_offset;

-- name: outbox_counts
-- For whoever watches: what waits to be sent or answered, since when the oldest does, and what is overdue.
SELECT count(*) FILTER (WHERE tellings.sent_at IS NULL AND outbox.key_destroyed_at IS NULL) AS unsent,
       min(outbox.made_at) FILTER (WHERE tellings.sent_at IS NULL AND outbox.key_destroyed_at IS NULL) AS unsent_since,
       count(*) FILTER (WHERE tellings.sent_at IS NOT NULL) AS unanswered,
       count(*) FILTER (WHERE outbox.deadline <= %(at)s) AS overdue
FROM tellings JOIN outbox USING (news_id) JOIN recipients USING (recipient_id)
WHERE outbox.number IS NOT NULL AND recipients.removed_at IS NULL AND NOT outbox.overtaken
  AND (tellings.status IS NULL OR tellings.status = 'failed');
