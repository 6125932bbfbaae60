-- What a projection of the eventsourcing library does for one event, into the tables of our own read models.

-- name: store_profile!
INSERT INTO contacts.profiles (
    tenant, profile, first_position, subject, agent, deleted, merged, erased, language, active, created_at, updated_at,
    blocked, former_agent
)
VALUES (
    %(tenant)s, %(thing)s, %(position)s, %(person)s, %(agent)s, false, false, false, %(language)s, %(active)s,
    %(created_at)s, %(updated_at)s, false, false
)
ON CONFLICT (tenant, profile) DO UPDATE SET
    language = coalesce(EXCLUDED.language, profiles.language),
    active = coalesce(EXCLUDED.active, profiles.active),
    updated_at = coalesce(EXCLUDED.updated_at, profiles.updated_at);

-- name: renew_profile_seals!
-- What the event gives is not read from older seals any more.
WITH dropped AS (
    DELETE FROM contacts.seals WHERE tenant = %(tenant)s AND thing = %(thing)s AND fields <@ %(fields)s::text[]
)
UPDATE contacts.seals
SET fields = ARRAY(SELECT unnest(fields) EXCEPT SELECT unnest(%(fields)s::text[]))
WHERE tenant = %(tenant)s AND thing = %(thing)s AND fields && %(fields)s::text[] AND NOT fields <@ %(fields)s::text[];

-- name: insert_profile_seal!
INSERT INTO contacts.seals (tenant, thing, position, fields, owners, seal)
VALUES (%(tenant)s, %(thing)s, %(position)s, %(fields)s, %(owners)s::uuid[], %(position)s);

-- name: insert_ticket!
INSERT INTO tickets.tickets (
    tenant, ticket, opened_on, kind, first_position, opened_at, status, priority, channel, type, requester, responder,
    deleted, erased, entries, copied
)
VALUES (
    %(tenant)s, %(thing)s, %(day)s, 'ticket', %(position)s, %(at)s, %(status)s, %(priority)s, %(channel)s, %(type)s,
    %(requester)s, %(responder)s, false, false, 0, %(copied)s::uuid[]
);

-- name: involve!
INSERT INTO tickets.involved (tenant, subject, ticket)
SELECT %(tenant)s, unnest(%(involved)s::uuid[]), %(thing)s
ON CONFLICT DO NOTHING;

-- name: update_ticket!
UPDATE tickets.tickets SET
    status = %(status)s,
    responder = coalesce(%(responder)s, responder),
    resolved_at = CASE
        WHEN NOT %(done)s THEN NULL
        WHEN status IN ('resolved', 'closed') THEN resolved_at
        ELSE %(at)s::timestamptz
    END
WHERE tenant = %(tenant)s AND ticket = %(thing)s;

-- name: renew_ticket_seals!
WITH dropped AS (
    DELETE FROM tickets.seals WHERE tenant = %(tenant)s AND thing = %(thing)s AND fields <@ %(fields)s::text[]
)
UPDATE tickets.seals
SET fields = ARRAY(SELECT unnest(fields) EXCEPT SELECT unnest(%(fields)s::text[]))
WHERE tenant = %(tenant)s AND thing = %(thing)s AND fields && %(fields)s::text[] AND NOT fields <@ %(fields)s::text[];

-- name: insert_ticket_seal!
INSERT INTO tickets.seals (tenant, thing, position, fields, owners, seal)
VALUES (%(tenant)s, %(thing)s, %(position)s, %(fields)s, %(owners)s::uuid[], %(position)s);

-- name: insert_entry!
INSERT INTO tickets.entries (
    tenant, ticket, position, kind, at, by, author, private, incoming, source, rating, part, deleted, fields, owners, seal
)
VALUES (
    %(tenant)s, %(thing)s, %(position)s, %(kind)s, %(at)s, %(by)s, %(author)s, %(private)s, %(incoming)s, %(source)s,
    %(rating)s, %(part)s, false, %(fields)s, %(owners)s::uuid[], %(position)s
);

-- name: count_entry!
UPDATE tickets.tickets SET
    entries = entries + 1,
    first_response_at = least(first_response_at, %(response_at)s),
    rating = coalesce(%(rating)s, rating)
WHERE tenant = %(tenant)s AND ticket = %(thing)s;

-- name: insert_counted!
INSERT INTO reports.tickets (
    tenant, ticket, opened_on, opened_at, status, priority, channel, type, agent
)
VALUES (
    %(tenant)s, %(thing)s, %(day)s, %(at)s, %(status)s, %(priority)s, %(channel)s, %(type)s, %(responder)s
);

-- name: update_counted!
UPDATE reports.tickets SET
    status = %(status)s,
    agent = coalesce(%(responder)s, agent),
    resolved_at = CASE
        WHEN NOT %(done)s THEN NULL
        WHEN status IN ('resolved', 'closed') THEN resolved_at
        ELSE %(at)s::timestamptz
    END,
    resolution_seconds = CASE
        WHEN NOT %(done)s THEN NULL
        WHEN status IN ('resolved', 'closed') THEN resolution_seconds
        ELSE floor(extract(epoch FROM %(at)s::timestamptz - opened_at))
    END
WHERE tenant = %(tenant)s AND ticket = %(thing)s;

-- name: count_response!
UPDATE reports.tickets SET
    first_response_seconds = least(
        first_response_seconds, floor(extract(epoch FROM %(response_at)s::timestamptz - opened_at))
    )
WHERE tenant = %(tenant)s AND ticket = %(thing)s;

-- name: insert_rating!
INSERT INTO reports.ratings (tenant, ticket, position, rating)
VALUES (%(tenant)s, %(thing)s, %(position)s, %(rating)s);

-- name: act!
INSERT INTO reports.activity (tenant, day, kind, by, count, seconds)
VALUES (%(tenant)s, %(day)s, %(kind)s, %(by)s, 1, 0)
ON CONFLICT (tenant, day, kind, by) DO UPDATE SET count = activity.count + 1;
