-- name: close_tenant!
UPDATE tenants SET closed_at = coalesce(closed_at, %(at)s) WHERE tenant_id = %(tenant)s;

-- name: drop_quarantine!
-- Their keys are gone with the tenant.
DELETE FROM quarantine WHERE tenant = %(tenant)s;

-- name: came_in
-- Whether a fact of a tenant stands behind a position, or a record in the quarantine that is not among the known ones.
SELECT EXISTS (SELECT 1 FROM facts_events WHERE notification_id > %(after)s AND tenant = %(tenant)s)
    OR EXISTS (SELECT quarantine_id FROM quarantine WHERE tenant = %(tenant)s
               EXCEPT SELECT unnest(%(known)b::uuid[])) AS found;

-- name: stored_files
-- Files that have come to the store, and when.
SELECT blob_id, stored_at FROM blobs WHERE tenant = %(tenant)s AND bytes IS NOT NULL;

-- name: count_facts
SELECT count(*) AS facts FROM facts_events WHERE tenant = %(tenant)s AND notification_id <= %(head)s;

-- name: sealed_of_tenant
-- Some of the newest facts of a tenant that have a seal.
SELECT originator_id AS stream, seal FROM facts_events WHERE tenant = %(tenant)s AND seal IS NOT NULL
ORDER BY notification_id DESC LIMIT %(limit)s;

-- name: files
SELECT count(*) AS found FROM blobs WHERE tenant = %(tenant)s;

-- name: quarantined
SELECT count(*) AS found FROM quarantine WHERE tenant = %(tenant)s;

-- name: contacts
SELECT (SELECT count(*) FROM contacts.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL)
     + (SELECT count(*) FROM contacts.consents WHERE tenant = %(tenant)s AND seal IS NOT NULL)
     + (SELECT count(*) FROM contacts.profiles WHERE tenant = %(tenant)s AND subject IS NOT NULL
                                                 AND NOT (agent OR former_agent)) AS found;

-- name: tickets
SELECT (SELECT count(*) FROM tickets.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL)
     + (SELECT count(*) FROM tickets.entries WHERE tenant = %(tenant)s
                                               AND (seal IS NOT NULL OR (author IS NOT NULL AND by IS DISTINCT FROM 'agent')))
     + (SELECT count(*) FROM tickets.tickets WHERE tenant = %(tenant)s AND (requester IS NOT NULL OR copied <> '{}'))
     + (SELECT count(*) FROM tickets.involved WHERE tenant = %(tenant)s) AS found;

-- name: erasures
SELECT count(*) AS found FROM erasures.tickets WHERE tenant = %(tenant)s AND requester IS NOT NULL;

-- name: forums
SELECT (SELECT count(*) FROM forums.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL)
     + (SELECT count(*) FROM forums.attachments WHERE tenant = %(tenant)s AND seal IS NOT NULL)
     + (SELECT count(*) FROM forums.things WHERE tenant = %(tenant)s AND author IS NOT NULL
                                             AND by IS DISTINCT FROM 'agent') AS found;

-- name: articles
SELECT (SELECT count(*) FROM articles.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL)
     + (SELECT count(*) FROM articles.attachments WHERE tenant = %(tenant)s AND seal IS NOT NULL)
     + (SELECT count(*) FROM articles.things WHERE tenant = %(tenant)s AND author IS NOT NULL
                                               AND by IS DISTINCT FROM 'agent') AS found;

-- name: companies
SELECT (SELECT count(*) FROM companies.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL)
     + (SELECT count(*) FROM companies.attachments WHERE tenant = %(tenant)s AND seal IS NOT NULL)
     + (SELECT count(*) FROM companies.things WHERE tenant = %(tenant)s AND author IS NOT NULL
                                                AND by IS DISTINCT FROM 'agent') AS found;

-- name: groups
SELECT (SELECT count(*) FROM groups.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL)
     + (SELECT count(*) FROM groups.attachments WHERE tenant = %(tenant)s AND seal IS NOT NULL)
     + (SELECT count(*) FROM groups.things WHERE tenant = %(tenant)s AND author IS NOT NULL
                                             AND by IS DISTINCT FROM 'agent') AS found;
