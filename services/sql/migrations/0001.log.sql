-- The log database: facts, what stands beside them, and (each in a schema of its own) the read models.

CREATE TABLE facts_events (
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL,
    notification_id bigserial,
    tenant uuid NOT NULL,
    event_id uuid NOT NULL,
    record_digest bytea NOT NULL,
    ordinal smallint NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    owners uuid[] NOT NULL,
    kept boolean NOT NULL,
    seal bytea,
    PRIMARY KEY (originator_id, originator_version)
);
ALTER TABLE facts_events ALTER COLUMN seal SET STORAGE EXTERNAL;
COMMENT ON TABLE facts_events IS 'A row is a fact: what happened to one thing. Personal fields are in the seal; state holds the clear fields as JSON.';
COMMENT ON COLUMN facts_events.notification_id IS 'The position. Position order is commit order; gaps are normal.';
COMMENT ON COLUMN facts_events.record_digest IS 'HMAC of tenant, source and id of the record that this fact came in, cut to 16 bytes.';
COMMENT ON COLUMN facts_events.kept IS 'Whether it calls for key work: an address is claimed, something moves, is written anew or ends.';
CREATE UNIQUE INDEX facts_events_by_position ON facts_events (notification_id);
CREATE UNIQUE INDEX facts_events_once ON facts_events (record_digest, ordinal);
CREATE INDEX facts_events_kept ON facts_events (notification_id) WHERE kept;

-- The next type and table are the library's own, as its recorder would create them.
CREATE TYPE stored_event_uuid AS (originator_id uuid, originator_version bigint, topic text, state bytea);

CREATE TABLE privacy_events (
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text,
    state bytea,
    notification_id bigserial,
    PRIMARY KEY (originator_id, originator_version)
);
COMMENT ON TABLE privacy_events IS 'A row is an event of a case: a hold, its end, or what became of a request to shred. Words are sealed under the desk.';
CREATE UNIQUE INDEX privacy_events_notification_id_idx ON privacy_events (notification_id);

CREATE TABLE positions (
    topic_id uuid NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    leader_epoch integer NOT NULL DEFAULT -1,
    beaten_to bigint,
    PRIMARY KEY (topic_id, partition)
);
COMMENT ON COLUMN positions.beaten_to IS 'The offset behind our last heartbeat: where the partition ends there, nothing stands in its last segment but that.';
COMMENT ON COLUMN positions.leader_epoch IS 'The leader under which the last record was appended, as the broker counts leaders; -1 where it says none.';
COMMENT ON TABLE positions IS 'A row is how far one Kafka partition has been stored. It changes in the transaction of the facts.';

CREATE TABLE issue_seen (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    issue bigint NOT NULL,
    line bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE issue_seen IS 'The one row keeps the highest issue number of the key database that the log has seen.';
COMMENT ON COLUMN issue_seen.line IS 'Up to which line of the ledger the log has been told of every shred.';

CREATE TABLE accepted_losses (
    at timestamptz NOT NULL DEFAULT now(),
    issued bigint NOT NULL,
    seen bigint NOT NULL
);
COMMENT ON TABLE accepted_losses IS 'A row says that an operator let the key database be older than the log: keys issued between the two numbers are lost.';
INSERT INTO issue_seen (issue) VALUES (0);

CREATE TABLE tenants (
    tenant_id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    added_at timestamptz NOT NULL DEFAULT now(),
    trash_days integer NOT NULL DEFAULT 30 CHECK (trash_days > 0),
    trusts_purges boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE tenants IS 'A row is one helpdesk account.';
COMMENT ON COLUMN tenants.trash_days IS 'How long what was deleted can be restored; then it is purged.';
COMMENT ON COLUMN tenants.trusts_purges IS 'Whether a purge that upstream orders is carried out without an officer.';

CREATE TABLE vocabulary (
    tenant_id uuid NOT NULL REFERENCES tenants,
    vocabulary text NOT NULL,
    word text NOT NULL,
    PRIMARY KEY (tenant_id, vocabulary, word)
);
COMMENT ON TABLE vocabulary IS 'A row is a word that a tenant declared: it may stand in the clear.';

CREATE TABLE quarantine (
    quarantine_id uuid PRIMARY KEY,
    tenant uuid NOT NULL,
    key_id uuid NOT NULL,
    code text NOT NULL,
    path text NOT NULL,
    waits_for bytea[],
    at timestamptz NOT NULL DEFAULT now(),
    arrived bigserial,
    topic text,
    partition integer,
    record_offset bigint,
    seal bytea NOT NULL
);
ALTER TABLE quarantine ALTER COLUMN seal SET STORAGE EXTERNAL;
COMMENT ON TABLE quarantine IS 'A row is a record that could not be taken, sealed whole under the key of its day, with a reason that quotes none of it.';
COMMENT ON COLUMN quarantine.arrived IS 'The order in which records came; those that waited for the same thing are taken up in it.';
COMMENT ON COLUMN quarantine.topic IS 'With partition and record_offset, where it stood in Kafka; NULL for what came in a file.';
COMMENT ON COLUMN quarantine.waits_for IS 'The blind indexes of the thing or person that the record is about, when that is not known yet.';
CREATE INDEX quarantine_by_tenant ON quarantine (tenant, arrived);
CREATE INDEX quarantine_waiting ON quarantine USING gin (waits_for) WHERE waits_for IS NOT NULL;

CREATE TABLE refusals (
    tenant uuid NOT NULL,
    day date NOT NULL,
    code text NOT NULL,
    refused bigint NOT NULL,
    PRIMARY KEY (tenant, day, code)
);
COMMENT ON TABLE refusals IS 'A row counts the records of a day that were refused and not kept, because of a fence.';

CREATE TABLE access_lines (
    access_id uuid PRIMARY KEY,
    tenant uuid NOT NULL,
    at timestamptz NOT NULL,
    what text NOT NULL,
    ids uuid[] NOT NULL,
    words bytea NOT NULL
);
COMMENT ON TABLE access_lines IS 'A row is one reveal: when, which list, which things. Who and why are sealed under the desk.';

CREATE TABLE blobs (
    blob_id uuid PRIMARY KEY,
    tenant uuid NOT NULL,
    thing uuid NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    bytes bigint CHECK (bytes > 0)
);
COMMENT ON TABLE blobs IS 'A row is a file in the store of sealed files, or on its way there: of which thing, since when, how large. It is written before the file, so that no file is without one.';
COMMENT ON COLUMN blobs.blob_id IS 'The part of the thing that the file is. The key of the file has the same id.';
COMMENT ON COLUMN blobs.bytes IS 'How large it is, sealed and padded; NULL while it is on its way, or if it broke off there.';
