-- How the rights come about that services/rights.py declares.

-- name: lock
-- Rights are rows of the catalogue, which two transactions at once cannot change. Analysts' rights take the same lock.
SELECT pg_advisory_xact_lock(hashtextextended('sealdesk analysts rights', 0));

-- name: stand
-- Whether the rights are those of this program, and whether those within the database are: a copy made with TEMPLATE has
-- these, and not the ones on the database itself.
SELECT stands AND enters, stands
FROM (
    SELECT coalesce(obj_description('public'::regnamespace, 'pg_namespace') = %(fingerprint)s, false)
               AND coalesce(has_schema_privilege(to_regrole('sealdesk_keeper')::oid, 'public', 'USAGE'), false)
               AS stands,
           NOT has_database_privilege('public', current_database(), 'CREATE, TEMPORARY')
               AND CASE WHEN %(keys)s THEN NOT has_database_privilege('public', current_database(), 'CONNECT')
                   ELSE coalesce(has_database_privilege(
                       to_regrole('sealdesk_projector')::oid, current_database(), 'CREATE'), false) END
               AND coalesce(pg_has_role(session_user, to_regrole('sealdesk_keeper')::oid, 'SET'), false)
               AS enters
) AS asked;

-- name: make_role!
-- Roles belong to the cluster, so another database may create the same one at the same time.
DO $$
BEGIN
    IF to_regrole({name}) IS NULL THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

-- name: join!
-- The keeper may do, one at a time and not before it says so, what some others may.
DO $$
BEGIN
    IF NOT pg_has_role({member}, {role}, 'SET') OR pg_has_role({member}, {role}, 'USAGE') THEN
        EXECUTE format('GRANT %I TO %I WITH SET TRUE, INHERIT FALSE', {role}, {member});
    END IF;
EXCEPTION WHEN unique_violation OR internal_error THEN
    IF NOT pg_has_role({member}, {role}, 'SET') THEN
        RAISE;
    END IF;
END
$$;

-- name: join_owner!
-- Whoever makes a role may not work as it until it says so. A superuser may anyway.
DO $$
BEGIN
    IF NOT pg_has_role(current_user, {role}, 'SET') THEN
        EXECUTE format('GRANT %I TO CURRENT_USER WITH SET TRUE, INHERIT TRUE', {role});
    END IF;
EXCEPTION WHEN unique_violation OR internal_error THEN
    IF NOT pg_has_role(current_user, {role}, 'SET') THEN
        RAISE;
    END IF;
END
$$;

-- name: take_all!
REVOKE ALL ON SCHEMA public FROM PUBLIC, {roles};
GRANT USAGE ON SCHEMA public TO {roles};
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, {roles};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, {roles};
REVOKE ALL ON ALL ROUTINES IN SCHEMA public FROM PUBLIC, {roles};

-- name: present
SELECT relname::text, relkind::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S');

-- name: own_models!
-- The projector owns the read models, and readers read them; also those that an earlier version made.
DO $$
DECLARE
    model regnamespace;
    one regclass;
BEGIN
    IF pg_has_role('sealdesk_keeper', 'sealdesk_projector', 'MEMBER') THEN
        REVOKE sealdesk_projector FROM sealdesk_keeper;
    END IF;
    ALTER DEFAULT PRIVILEGES FOR ROLE sealdesk_projector GRANT USAGE ON SCHEMAS TO sealdesk_reader, sealdesk_keeper;
    ALTER DEFAULT PRIVILEGES FOR ROLE sealdesk_projector GRANT SELECT ON TABLES TO sealdesk_reader, sealdesk_keeper;
    FOR model IN
        SELECT relnamespace FROM pg_class
        WHERE relname = 'position' AND relkind = 'r' AND obj_description(oid, 'pg_class') LIKE 'The only row says up to where%'
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO sealdesk_reader, sealdesk_keeper', model);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %s TO sealdesk_reader, sealdesk_keeper', model);
        IF (SELECT nspowner FROM pg_namespace WHERE oid = model) <> 'sealdesk_projector'::regrole THEN
            EXECUTE format('ALTER SCHEMA %s OWNER TO sealdesk_projector', model);
        END IF;
        FOR one IN
            SELECT oid FROM pg_class
            WHERE relnamespace = model AND relkind = 'r' AND relowner <> 'sealdesk_projector'::regrole
        LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO sealdesk_projector', one);
        END LOOP;
    END LOOP;
END
$$;

-- name: close_functions!
-- Large objects and messages in the WAL are a way to write, and with advisory locks anybody could stop the house. Only a
-- superuser can take them from everybody; ours keep the locks. Analysts rely on this, too (analysts.sql).
DO $$
DECLARE
    one regprocedure;
BEGIN
    IF current_setting('is_superuser') = 'on' THEN
        FOR one IN
            SELECT oid FROM pg_proc
            WHERE pronamespace = 'pg_catalog'::regnamespace
                AND proname ~ '^(lo_(creat|create|from_bytea|put)|lowrite|pg_logical_emit_message|pg_.*advisory_.*)$'
        LOOP
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one);
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO CURRENT_USER', one);
            IF one::text ~ 'advisory_' THEN
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {roles}', one);
            END IF;
        END LOOP;
    END IF;
END
$$;

-- name: login
SELECT rolsuper FROM pg_roles WHERE rolname = %(login)s AND rolcanlogin;

-- name: folds_apart
-- Whether somebody else than this login, and than a superuser or the owner of this database, may be the projector.
SELECT EXISTS (
    SELECT FROM pg_roles AS login, pg_database
    WHERE datname = current_database() AND login.rolcanlogin AND NOT login.rolsuper AND login.oid <> datdba
        AND login.rolname <> session_user AND pg_has_role(login.oid, 'sealdesk_projector', 'SET')
);

-- name: who
SELECT login.rolname::text, role.rolname::text
FROM pg_roles AS role, pg_roles AS login
WHERE role.rolname = ANY(%(roles)s) AND login.rolcanlogin AND NOT login.rolsuper
    AND pg_has_role(login.oid, role.oid, 'MEMBER')
ORDER BY login.rolname, role.rolname;
