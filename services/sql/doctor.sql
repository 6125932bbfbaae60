-- What PostgreSQL says of itself, to whoever looks for what is set wrong. Nothing here writes.

-- name: settings_of_server
-- Settings that a login may not see are left out.
SELECT name, setting FROM pg_settings WHERE name = ANY(%(names)s);

-- name: who_we_are
SELECT r.rolsuper AS superuser, pg_is_in_recovery() AS standby, clock_timestamp() AS clock,
       current_setting('server_version_num')::integer AS version
FROM pg_roles r WHERE r.rolname = current_user;

-- name: rights_of
-- Of which version the rights are, as whoever granted them has noted.
SELECT obj_description(to_regnamespace('public'), 'pg_namespace') AS rights;

-- name: is_encrypted
SELECT coalesce(bool_or(ssl), false) AS encrypted FROM pg_stat_ssl WHERE pid = pg_backend_pid();

-- name: identifier
-- The same for a cluster and everything that was copied from it, block by block.
SELECT system_identifier::text AS identifier FROM pg_control_system();

-- name: standbys
SELECT count(*) AS standbys FROM pg_stat_replication;

-- name: shreds_unfinished
SELECT count(*) AS shreds, min(begun_at) AS since FROM shreds WHERE step NOT IN ('finished', 'abandoned');

-- name: oldest_quarantined
SELECT count(*) AS records, min(at) AS oldest FROM quarantine;

-- name: oldest_behind
-- The oldest fact behind a position; NULL where there is none.
SELECT recorded_at AS since FROM facts_events WHERE notification_id > %(position)s ORDER BY notification_id LIMIT 1;
