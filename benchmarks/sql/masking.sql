-- What forgetting costs without keys: the log and the read models hold clear text, and every row is rewritten.

-- name: create#
CREATE TABLE clear_tickets (
    ticket uuid PRIMARY KEY,
    requester uuid NOT NULL,
    subject text,
    description text,
    tags jsonb
);
COMMENT ON TABLE clear_tickets IS 'A row is a ticket with its text in clear.';
CREATE TABLE clear_entries (
    position bigint PRIMARY KEY,
    ticket uuid NOT NULL,
    author uuid NOT NULL,
    body text
);
COMMENT ON TABLE clear_entries IS 'A row is an entry of a ticket with its text in clear.';
CREATE TABLE clear_contacts (
    person uuid PRIMARY KEY,
    profile jsonb NOT NULL
);
COMMENT ON TABLE clear_contacts IS 'A row is a person with the profile in clear.';

-- name: project_tickets!
INSERT INTO clear_tickets (ticket, requester, subject, description, tags)
SELECT originator_id, owners[1], said ->> 'subject', said ->> 'description', said -> 'tags'
FROM facts_events CROSS JOIN LATERAL (SELECT convert_from(state, 'UTF8')::jsonb AS said) AS decoded
WHERE topic = 'sealdesk.ticket.opened.v1';

-- name: project_entries!
INSERT INTO clear_entries (position, ticket, author, body)
SELECT notification_id, originator_id, owners[1], said ->> 'body'
FROM facts_events CROSS JOIN LATERAL (SELECT convert_from(state, 'UTF8')::jsonb AS said) AS decoded
WHERE topic = 'sealdesk.ticket.replied.v1';

-- name: project_contacts!
INSERT INTO clear_contacts (person, profile)
SELECT owners[1], convert_from(state, 'UTF8')::jsonb FROM facts_events WHERE topic = 'sealdesk.contact.created.v1';

-- name: index#
CREATE INDEX clear_facts_by_owner ON facts_events ((owners[1]));
CREATE INDEX clear_tickets_by_requester ON clear_tickets (requester);
CREATE INDEX clear_entries_by_author ON clear_entries (author);
ANALYZE;

-- name: mask_facts!
UPDATE facts_events
SET state = convert_to((convert_from(state, 'UTF8')::jsonb - %(personal)s::text[])::text, 'UTF8')
WHERE owners[1] = %(person)s;

-- name: mask_tickets!
UPDATE clear_tickets SET subject = NULL, description = NULL, tags = NULL WHERE requester = %(person)s;

-- name: mask_entries!
UPDATE clear_entries SET body = NULL WHERE author = %(person)s;

-- name: mask_contacts!
UPDATE clear_contacts SET profile = '{}' WHERE person = %(person)s;

-- name: rewrite!
VACUUM (FULL) facts_events, clear_tickets, clear_entries, clear_contacts;
