-- name: outbox
-- News about these people or things whose key stands though it should be gone: the row says that it is, the person is
-- shredded and not only rectified or restricted, it was never released, or its deadline is over. `sealdesk keep` has an
-- hour for that. (This one is asked of the key database.)
SELECT count(*) AS found FROM outbox JOIN wrapping_keys ON wrapping_keys.key_id = outbox.key_id
WHERE outbox.tenant = %(tenant)s
  AND (outbox.person = ANY(%(ids)b::uuid[])
       OR outbox.shred IN (SELECT shred_id FROM shreds WHERE line IS NOT NULL
                              AND (targets && %(ids)b::uuid[] OR target = ANY(%(things)b::uuid[])))
          AND (outbox.key_destroyed_at IS NOT NULL OR outbox.number IS NULL
               OR outbox.deadline < now() - interval '1 hour'));

-- name: contacts
SELECT (SELECT count(*) FROM contacts.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL
                                              AND (owners && %(ids)b::uuid[] OR thing = ANY(%(things)b::uuid[])))
     + (SELECT count(*) FROM contacts.consents WHERE tenant = %(tenant)s AND seal IS NOT NULL
                                                 AND (owners && %(ids)b::uuid[] OR profile = ANY(%(things)b::uuid[])))
     + (SELECT count(*) FROM contacts.profiles WHERE tenant = %(tenant)s AND subject = ANY(%(ids)b::uuid[])
                                                 AND NOT (agent OR former_agent))
       AS found;

-- name: tickets
SELECT (SELECT count(*) FROM tickets.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL
                                             AND (owners && %(ids)b::uuid[] OR thing = ANY(%(things)b::uuid[])))
     -- In one look: there are many.
     + (SELECT count(*) FILTER (WHERE seal IS NOT NULL
                                  AND (owners && %(ids)b::uuid[] OR ticket = ANY(%(things)b::uuid[])))
             + count(*) FILTER (WHERE author = ANY(%(ids)b::uuid[]) AND by IS DISTINCT FROM 'agent')
        FROM tickets.entries WHERE tenant = %(tenant)s)
     + (SELECT count(*) FROM tickets.tickets WHERE tenant = %(tenant)s AND requester = ANY(%(ids)b::uuid[]))
     + (SELECT count(*) FROM tickets.involved WHERE tenant = %(tenant)s AND subject = ANY(%(ids)b::uuid[]))
       AS found;

-- name: erasures
SELECT count(*) AS found FROM erasures.tickets WHERE tenant = %(tenant)s AND requester = ANY(%(ids)b::uuid[]);

-- name: forums
SELECT (SELECT count(*) FROM forums.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL
                               AND (owners && %(ids)b::uuid[] OR thing = ANY(%(things)b::uuid[])))
     + (SELECT count(*) FROM forums.attachments WHERE tenant = %(tenant)s AND seal IS NOT NULL
                                     AND (owners && %(ids)b::uuid[] OR thing = ANY(%(things)b::uuid[])))
     + (SELECT count(*) FROM forums.things WHERE tenant = %(tenant)s AND author = ANY(%(ids)b::uuid[])
                                AND by IS DISTINCT FROM 'agent')
       AS found;

-- name: articles
SELECT (SELECT count(*) FROM articles.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL
                                 AND (owners && %(ids)b::uuid[] OR thing = ANY(%(things)b::uuid[])))
     + (SELECT count(*) FROM articles.attachments WHERE tenant = %(tenant)s AND seal IS NOT NULL
                                       AND (owners && %(ids)b::uuid[] OR thing = ANY(%(things)b::uuid[])))
     + (SELECT count(*) FROM articles.things WHERE tenant = %(tenant)s AND author = ANY(%(ids)b::uuid[])
                                  AND by IS DISTINCT FROM 'agent')
       AS found;

-- name: companies
SELECT (SELECT count(*) FROM companies.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL
                                  AND (owners && %(ids)b::uuid[] OR thing = ANY(%(things)b::uuid[])))
     + (SELECT count(*) FROM companies.attachments WHERE tenant = %(tenant)s AND seal IS NOT NULL
                                        AND (owners && %(ids)b::uuid[] OR thing = ANY(%(things)b::uuid[])))
     + (SELECT count(*) FROM companies.things WHERE tenant = %(tenant)s AND author = ANY(%(ids)b::uuid[])
                                   AND by IS DISTINCT FROM 'agent')
       AS found;

-- name: groups
SELECT (SELECT count(*) FROM groups.seals WHERE tenant = %(tenant)s AND seal IS NOT NULL
                               AND (owners && %(ids)b::uuid[] OR thing = ANY(%(things)b::uuid[])))
     + (SELECT count(*) FROM groups.attachments WHERE tenant = %(tenant)s AND seal IS NOT NULL
                                     AND (owners && %(ids)b::uuid[] OR thing = ANY(%(things)b::uuid[])))
     + (SELECT count(*) FROM groups.things WHERE tenant = %(tenant)s AND author = ANY(%(ids)b::uuid[])
                                AND by IS DISTINCT FROM 'agent')
       AS found;

-- name: heads
-- What the seals of some people and things begin with, up to the nonce (`crypto.sealing` has the format).
SELECT CASE WHEN octet_length(seal) < 3 THEN seal
            ELSE substring(seal FROM 1 FOR 3 + get_byte(seal, 1) * 256 + get_byte(seal, 2)) END AS head
FROM facts_events
WHERE originator_id = ANY(%(streams)b::uuid[]) AND tenant = %(tenant)s AND seal IS NOT NULL
    AND (originator_id = ANY(%(gone)b::uuid[]) OR owners && %(gone)b::uuid[]);
