-- What an operator is told of the databases, a few times a minute. Every statement here reads an index or a small table.

-- name: log_head
SELECT coalesce(max(notification_id), 0) AS head FROM facts_events;

-- name: read_models_there
-- A model that was never fed has no schema yet, and stands at 0.
SELECT nspname AS model FROM pg_namespace WHERE nspname = ANY(%(models)s);

-- name: oldest_behind
-- The age of the oldest fact behind each position; NULL where a model has folded everything.
SELECT given.model, given.position,
       (SELECT extract(epoch FROM clock_timestamp() - recorded_at) FROM facts_events
        WHERE notification_id > given.position ORDER BY notification_id LIMIT 1) AS seconds
FROM unnest(%(models)s::text[], %(positions)s::bigint[]) AS given (model, position);

-- name: quarantined_by_code
SELECT code, count(*) AS records, extract(epoch FROM clock_timestamp() - min(at)) AS seconds
FROM quarantine GROUP BY code;

-- name: refused_by_code
SELECT code, sum(refused)::bigint AS refused FROM refusals GROUP BY code;

-- name: shreds_begun
-- In the key database.
SELECT count(*) AS shreds, extract(epoch FROM clock_timestamp() - min(begun_at)) AS seconds
FROM shreds WHERE step NOT IN ('finished', 'abandoned');

-- name: lines_carried_out
-- In the key database.
SELECT coalesce(max(line), 0) AS line FROM shreds;
