-- name: sealed_after
-- Seals as they lie on the log, whatever their bytes are.
SELECT notification_id AS position, originator_id AS stream, tenant, event_id, topic, seal FROM facts_events
WHERE notification_id > %(after)s AND seal IS NOT NULL ORDER BY notification_id LIMIT %(limit)s;

-- name: sealed
SELECT count(*) FILTER (WHERE seal IS NOT NULL) AS sealed, count(*) FILTER (WHERE seal IS NULL) AS never,
       coalesce(max(notification_id), 0) AS head
FROM facts_events;

-- name: kept_after
-- Streams whose facts called for key work.
SELECT notification_id AS position, originator_id AS stream FROM facts_events
WHERE notification_id > %(after)s AND notification_id <= %(until)s AND kept ORDER BY notification_id LIMIT %(limit)s;
