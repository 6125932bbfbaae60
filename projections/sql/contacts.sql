-- The people of a helpdesk, profile by profile, and what they consented to.

-- name: create
CREATE TABLE profiles (
    tenant uuid NOT NULL,
    profile uuid NOT NULL,
    first_position bigint NOT NULL,
    subject uuid,
    agent boolean NOT NULL,
    deleted boolean NOT NULL,
    merged boolean NOT NULL,
    erased boolean NOT NULL,
    language text,
    active boolean,
    view_all_tickets boolean,
    occasional boolean,
    available boolean,
    ticket_scope smallint,
    created_at timestamptz,
    updated_at timestamptz,
    blocked boolean NOT NULL,
    former_agent boolean NOT NULL,
    avatar uuid,
    PRIMARY KEY (tenant, profile),
    CHECK (NOT erased OR avatar IS NULL)
);
CREATE INDEX profiles_by_subject ON profiles (tenant, subject) WHERE subject IS NOT NULL;
CREATE INDEX profiles_by_position ON profiles (tenant, first_position, profile);
COMMENT ON TABLE profiles IS
    'One row is one profile of one person, contact or agent or both; its personal fields are in the table of seals.';
COMMENT ON COLUMN profiles.subject IS
    'Whose profile it is. NULL for a contact who is forgotten; that of an agent stays, in the team or not any more.';
COMMENT ON COLUMN profiles.merged IS 'The person is known under another profile, for good, and dies with that one.';
COMMENT ON COLUMN profiles.erased IS 'The person, or this profile alone, was shredded.';
COMMENT ON COLUMN profiles.blocked IS 'Nothing of this person is to be worked on.';
COMMENT ON COLUMN profiles.former_agent IS 'Was an agent and is a contact now.';
COMMENT ON COLUMN profiles.avatar IS 'The inside id of the newest picture.';

CREATE TABLE consents (
    tenant uuid NOT NULL,
    profile uuid NOT NULL,
    position bigint NOT NULL,
    given boolean NOT NULL,
    at timestamptz NOT NULL,
    purpose text NOT NULL,
    wording text,
    fields text[] NOT NULL,
    owners uuid[] NOT NULL,
    seal bigint,
    PRIMARY KEY (tenant, profile, position),
    CHECK (seal IS NOT NULL OR owners = '{}')
);
-- Statistics hold values, and outlive the rows: of whom a row names, none are gathered.
ALTER TABLE profiles ALTER COLUMN subject SET STATISTICS 0;
ALTER TABLE consents ALTER COLUMN owners SET STATISTICS 0;
COMMENT ON TABLE consents IS 'One row is that somebody consented to something, or took a consent back, with its seal.';
COMMENT ON COLUMN consents.purpose IS 'A word; other, if the tenant has none for it. It stays when the person is forgotten.';
COMMENT ON COLUMN consents.seal IS
    'Where on the log it stands: the position of its fact, or NULL for shredded.';

-- name: load
SELECT p.*
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, profile)
JOIN profiles p ON p.tenant = k.tenant AND p.profile = k.profile;

-- name: load_of_subjects
-- All profiles of some people, who are about to be forgotten.
SELECT p.*
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS k (tenant, subject)
JOIN profiles p ON p.tenant = k.tenant AND p.subject = k.subject;

-- name: store
INSERT INTO profiles
SELECT * FROM unnest(
    %(tenant)b::uuid[], %(profile)b::uuid[], %(first_position)b::bigint[], %(subject)b::uuid[],
    %(agent)b::boolean[], %(deleted)b::boolean[], %(merged)b::boolean[], %(erased)b::boolean[],
    %(language)b::text[], %(active)b::boolean[], %(view_all_tickets)b::boolean[], %(occasional)b::boolean[],
    %(available)b::boolean[], %(ticket_scope)b::smallint[], %(created_at)b::timestamptz[],
    %(updated_at)b::timestamptz[], %(blocked)b::boolean[], %(former_agent)b::boolean[], %(avatar)b::uuid[]
)
ON CONFLICT (tenant, profile) DO UPDATE SET
    subject = EXCLUDED.subject,
    agent = EXCLUDED.agent,
    deleted = EXCLUDED.deleted,
    merged = EXCLUDED.merged,
    erased = EXCLUDED.erased,
    language = EXCLUDED.language,
    active = EXCLUDED.active,
    view_all_tickets = EXCLUDED.view_all_tickets,
    occasional = EXCLUDED.occasional,
    available = EXCLUDED.available,
    ticket_scope = EXCLUDED.ticket_scope,
    created_at = EXCLUDED.created_at,
    updated_at = EXCLUDED.updated_at,
    blocked = EXCLUDED.blocked,
    former_agent = EXCLUDED.former_agent,
    avatar = EXCLUDED.avatar;

-- name: blank_consents
-- Profiles that were erased.
UPDATE consents c
SET owners = '{}', seal = NULL
FROM unnest(%(tenants)b::uuid[], %(ids)b::uuid[]) AS n (tenant, profile)
WHERE c.tenant = n.tenant AND c.profile = n.profile AND c.seal IS NOT NULL;

-- name: insert_consents
INSERT INTO consents (tenant, profile, position, given, at, purpose, wording, fields, owners, seal)
SELECT tenant, profile, position, given, at, purpose, wording, fields::text[], owners::uuid[], seal
FROM unnest(
    %(tenants)b::uuid[], %(profiles)b::uuid[], %(positions)b::bigint[], %(given)b::boolean[],
    %(at)b::timestamptz[], %(purposes)b::text[], %(wordings)b::text[], %(fields)b::text[], %(owners)b::text[],
    %(seals)b::bigint[]
) AS n (tenant, profile, position, given, at, purpose, wording, fields, owners, seal);

-- name: list
-- A page of people in the order in which they became known, with the seals that their personal fields read from.
SELECT
    p.profile, p.first_position, p.subject, p.agent, p.deleted, p.merged, p.erased, p.language, p.active,
    p.view_all_tickets, p.occasional, p.available, p.ticket_scope, p.created_at, p.updated_at, p.blocked, p.former_agent,
    p.avatar,
    kept.fields, kept.seals
FROM contacts.profiles p
LEFT JOIN LATERAL (
    SELECT array_agg(array_to_string(s.fields, ',') ORDER BY s.position) AS fields,
        array_agg(s.seal ORDER BY s.position) AS seals
    FROM contacts.seals s
    WHERE s.tenant = p.tenant AND s.thing = p.profile
) AS kept ON true
WHERE p.tenant = %(tenant)s
    AND p.first_position > %(after)s
    AND (%(all)s OR NOT (p.deleted OR p.merged OR p.erased))
    AND (%(profile)s::uuid IS NULL OR p.profile = %(profile)s)
    AND (%(subject)s::uuid IS NULL OR p.subject = %(subject)s)
    AND (%(agent)s::boolean IS NULL OR p.agent = %(agent)s)
ORDER BY p.first_position, p.profile
LIMIT %(limit)s;

-- name: list_consents
-- What some people consented to and took back, in the order of the log.
SELECT c.profile, c.position, c.given, c.at, c.purpose, c.wording, c.fields, c.seal
FROM contacts.consents c
WHERE c.tenant = %(tenant)s AND c.profile = ANY(%(profiles)s)
ORDER BY c.profile, c.position;

-- name: close_profiles
-- The tenant was closed: everybody is erased, and the ids of those stay who were of the team.
UPDATE profiles
SET erased = true, avatar = NULL, subject = CASE WHEN agent OR former_agent THEN subject END
WHERE tenant = %(tenant)s
    AND NOT (erased AND avatar IS NULL AND (subject IS NULL OR agent OR former_agent));

-- name: close_consents
UPDATE consents SET owners = '{}', seal = NULL WHERE tenant = %(tenant)s AND seal IS NOT NULL;
