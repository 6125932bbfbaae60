-- The key database: keys, register, fences, shreds, and what recipients have to be told. It never holds a word that a
-- person wrote, in clear or sealed; of what upstream calls things, only what waits in the outbox, sealed.

CREATE TABLE wrapping_keys (
    key_id uuid PRIMARY KEY,
    tenant uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('bucket', 'desk', 'day', 'page', 'index', 'fence', 'dedup', 'mark',
                                          'pseudonym', 'outbox', 'recipient')),
    period text NOT NULL DEFAULT '',
    epoch integer NOT NULL,
    wrapped bytea NOT NULL,
    children integer NOT NULL DEFAULT 0,
    losses integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE wrapping_keys IS 'A row is a key that is wrapped under a root epoch: a bucket of subjects, a desk key, a quarantine day, a register page, or one of the keys of a tenant for indexes, fences, deduplication, marks and pseudonyms.';
COMMENT ON COLUMN wrapping_keys.children IS 'How many keys or rows hang from it. A full one gets no more.';
COMMENT ON COLUMN wrapping_keys.losses IS 'How many children it lost since it was last replaced.';
CREATE UNIQUE INDEX wrapping_keys_of_a_period ON wrapping_keys (tenant, kind, period)
    WHERE kind IN ('day', 'index', 'fence', 'dedup', 'mark', 'pseudonym');
CREATE INDEX wrapping_keys_by_epoch ON wrapping_keys (epoch);
CREATE INDEX wrapping_keys_to_fill ON wrapping_keys (tenant, kind, children) WHERE kind IN ('bucket', 'desk', 'page');

CREATE TABLE subjects (
    subject_id uuid PRIMARY KEY,
    tenant uuid NOT NULL,
    profile uuid NOT NULL,
    parent uuid NOT NULL,
    agent boolean NOT NULL DEFAULT false,
    upstream boolean NOT NULL DEFAULT false,
    bound bytea NOT NULL,
    wrapped bytea,
    line bigint,
    mark bytea,
    losses integer NOT NULL DEFAULT 0,
    CHECK ((line IS NULL) = (mark IS NULL)),
    CHECK (line IS NULL OR wrapped IS NULL)
);
COMMENT ON TABLE subjects IS 'A row is a person: a random id, the key that everything about the person hangs from, and after a shred the ledger line with a MAC instead of the key.';
COMMENT ON COLUMN subjects.parent IS 'The bucket, or the subject that this one was merged into.';
COMMENT ON COLUMN subjects.bound IS 'A MAC over tenant, subject and parent: nobody else can make it look as if it had died with another.';
COMMENT ON COLUMN subjects.profile IS 'The thing whose stream holds the profile.';
COMMENT ON COLUMN subjects.upstream IS 'Whether an id of upstream leads here.';
CREATE INDEX subjects_by_parent ON subjects (parent);
CREATE UNIQUE INDEX subjects_by_profile ON subjects (profile);
CREATE INDEX subjects_to_replace ON subjects (parent) WHERE losses > 0;

CREATE TABLE things (
    thing_id uuid PRIMARY KEY,
    tenant uuid NOT NULL,
    kind text NOT NULL,
    owner uuid NOT NULL,
    parent uuid,
    line bigint,
    mark bytea,
    CHECK ((line IS NULL) = (mark IS NULL))
);
COMMENT ON TABLE things IS 'A row is a thing that is erased as one (a ticket, a call, a forum post), with whose it is now: a person, or the tenant for what belongs to the desk.';
COMMENT ON COLUMN things.parent IS 'The thing in which it hangs, and with which it ends: the topic of a comment.';
COMMENT ON COLUMN things.line IS 'The ledger line of its shred; below zero, the position of the fact of upstream that ended it.';
CREATE INDEX things_by_parent ON things (parent) WHERE parent IS NOT NULL;
CREATE INDEX things_by_owner ON things (owner);

CREATE TABLE leaves (
    thing_id uuid NOT NULL,
    key_id uuid NOT NULL,
    tenant uuid NOT NULL,
    owner uuid NOT NULL,
    co_owners uuid[],
    blob boolean NOT NULL DEFAULT false,
    bound bytea NOT NULL,
    wrapped bytea,
    line bigint,
    mark bytea,
    PRIMARY KEY (thing_id, key_id),
    CHECK ((line IS NULL) = (mark IS NULL)),
    CHECK (line IS NULL OR wrapped IS NULL)
);
ALTER TABLE leaves ALTER COLUMN wrapped SET STORAGE EXTERNAL;
COMMENT ON TABLE leaves IS 'A row is the key of one fact, wrapped under its owner and then under each of its co-owners in turn, so that it dies with any of them. A row whose key was swept stays, so that a shred can be told from a loss.';
COMMENT ON COLUMN leaves.blob IS 'Whether it is the key of a file: then its id is that of the part of the thing which the file is.';
COMMENT ON COLUMN leaves.line IS 'Set where the fact alone went: below zero, the position of the fact that rewrote or ended it; else the ledger line of whoever gained and lost it.';
COMMENT ON COLUMN leaves.bound IS 'A MAC over tenant, thing, key and owners: nobody else can make it look as if it had died with another owner.';
CREATE INDEX leaves_by_owner ON leaves (owner);
CREATE INDEX leaves_by_co_owners ON leaves USING gin (co_owners) WHERE co_owners IS NOT NULL;

CREATE TABLE register (
    tenant uuid NOT NULL,
    blind_index bytea NOT NULL,
    page uuid NOT NULL,
    sealed bytea NOT NULL,
    told boolean NOT NULL DEFAULT true,
    PRIMARY KEY (tenant, blind_index)
);
CREATE INDEX register_by_page ON register (page);
COMMENT ON TABLE register IS 'A row leads from the blind index of a reference to an inside id, which is sealed under the key of its page.';
COMMENT ON COLUMN register.told IS 'Whether a fact on the log tells this reference; a crash between keys and log leaves it false.';

CREATE TABLE register_backs (
    owner uuid NOT NULL,
    page uuid NOT NULL,
    sealed bytea NOT NULL
);
COMMENT ON TABLE register_backs IS 'A row leads from a person or thing back to one blind index, sealed under the same page key, so that a shred finds every reference.';
CREATE INDEX register_backs_by_owner ON register_backs (owner);
CREATE INDEX register_backs_by_page ON register_backs (page);

CREATE TABLE fences (
    tenant uuid NOT NULL,
    tag bytea NOT NULL,
    period text NOT NULL,
    day date NOT NULL,
    PRIMARY KEY (tenant, tag)
);
COMMENT ON TABLE fences IS 'A row is what stays of a shredded reference: a tag under the fence key of its period, and a day. It names nobody and leads nowhere.';

CREATE TABLE shreds (
    shred_id uuid PRIMARY KEY,
    tenant uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('subject', 'thing')),
    target uuid NOT NULL,
    targets uuid[] NOT NULL,
    profile uuid NOT NULL,
    ground text NOT NULL,
    step text NOT NULL CHECK (step IN ('intended', 'destroyed', 'told', 'finished', 'abandoned')),
    begun_at timestamptz NOT NULL,
    line bigint,
    destroyed_at timestamptz,
    epoch integer,
    counts jsonb NOT NULL DEFAULT '{}',
    certificate jsonb,
    source_mark bigint,
    news_until timestamptz
);
COMMENT ON TABLE shreds IS 'A row is one shred and how far it got. Every start resumes what is not finished.';
COMMENT ON COLUMN shreds.source_mark IS 'The mark that says where the topics ended after it. The mark goes when they are cleared up to there.';
COMMENT ON COLUMN shreds.news_until IS 'Until when what upstream called the shredded may be kept, sealed, for recipients.';
COMMENT ON COLUMN shreds.epoch IS 'The newest root epoch that may have stood above what was destroyed.';
CREATE INDEX shreds_unfinished ON shreds (begun_at) WHERE step NOT IN ('finished', 'abandoned');
CREATE INDEX shreds_by_target ON shreds USING gin (targets);
CREATE INDEX shreds_by_mark ON shreds (source_mark);

CREATE TABLE source_marks (
    mark bigserial PRIMARY KEY,
    cluster text NOT NULL,
    noted_at timestamptz NOT NULL,
    ends jsonb NOT NULL,
    held_since timestamptz,
    looked_at timestamptz NOT NULL,
    waits_for text NOT NULL DEFAULT ''
);
COMMENT ON TABLE source_marks IS 'A row is where the topics of a Kafka cluster ended at a time, kept until all of them are cleared up to there.';
COMMENT ON COLUMN source_marks.ends IS 'By partition: topic, id, end, time of its newest record, the first record of a later segment, and the brokers that have or had a replica.';
COMMENT ON COLUMN source_marks.waits_for IS 'What was in the way at the last look: a topic, a partition, and a sentence of ours.';
COMMENT ON COLUMN source_marks.held_since IS 'Since when they are cleared without a break. The delays of the brokers are counted from here.';

CREATE TABLE recipients (
    recipient_id uuid PRIMARY KEY,
    tenant uuid NOT NULL,
    name text NOT NULL,
    kinds text[] NOT NULL,
    key_id uuid NOT NULL,
    public_key bytea,
    since bigint NOT NULL,
    added_at timestamptz NOT NULL,
    removed_at timestamptz
);
COMMENT ON TABLE recipients IS 'A row is somebody whom the tenant has passed data on to, and who is told what was erased, rectified or restricted.';
COMMENT ON COLUMN recipients.kinds IS 'Of which kinds of news.';
COMMENT ON COLUMN recipients.key_id IS 'The wrapping key row that holds the secret under which the recipient signs its answers.';
COMMENT ON COLUMN recipients.public_key IS 'X25519, 32 bytes: news for this recipient is sealed to it. NULL where it is sent in clear.';
COMMENT ON COLUMN recipients.since IS 'The head of the log when it was added: nothing before concerns it.';
CREATE UNIQUE INDEX recipients_by_name ON recipients (tenant, name) WHERE removed_at IS NULL;

CREATE TABLE outbox (
    news_id uuid PRIMARY KEY,
    tenant uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('erased', 'content_erased', 'rectified', 'restricted', 'unrestricted')),
    shred uuid,
    position bigint UNIQUE,
    person uuid,
    key_id uuid NOT NULL,
    made_at timestamptz NOT NULL,
    number bigint UNIQUE,
    deadline timestamptz,
    key_destroyed_at timestamptz,
    recertify boolean NOT NULL DEFAULT false,
    overtaken boolean NOT NULL DEFAULT false,
    unnamed integer NOT NULL DEFAULT 0,
    CHECK (shred IS NULL OR position IS NULL),
    CHECK ((number IS NULL) = (deadline IS NULL))
);
COMMENT ON TABLE outbox IS 'A row is one news: what a shred, or a fact on the log, makes recipients have to know.';
COMMENT ON COLUMN outbox.shred IS 'The shred. It has several news where somebody who was merged into the person went the same way later. NULL for a fact.';
COMMENT ON COLUMN outbox.position IS 'The position of the fact.';
COMMENT ON COLUMN outbox.person IS 'Whom the fact is about: the news ends with that person.';
COMMENT ON COLUMN outbox.key_id IS 'The outbox key: it dies with the last acknowledgement, or at the deadline.';
COMMENT ON COLUMN outbox.number IS 'The order of telling. NULL while the shred may still be abandoned.';
COMMENT ON COLUMN outbox.recertify IS 'Whether the certificate of the shred may say less than is known by now.';
COMMENT ON COLUMN outbox.overtaken IS 'Whether it ended early, because the person was shredded: that is the news then.';
COMMENT ON COLUMN outbox.unnamed IS 'How many things it does not name, because changed seals hide what they are called.';
CREATE INDEX outbox_open ON outbox (number) WHERE key_destroyed_at IS NULL;
CREATE INDEX outbox_by_shred ON outbox (shred) WHERE shred IS NOT NULL;
CREATE INDEX outbox_open_by_person ON outbox (person) WHERE key_destroyed_at IS NULL;
CREATE INDEX outbox_to_recertify ON outbox (news_id) WHERE recertify;
CREATE SEQUENCE news_number;

CREATE TABLE outbox_pages (
    news_id uuid NOT NULL REFERENCES outbox ON DELETE CASCADE,
    page integer NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (news_id, page)
);
COMMENT ON TABLE outbox_pages IS 'A row is some of the things that a news names, sealed under its outbox key. It goes with that key.';

CREATE TABLE tellings (
    telling_id uuid PRIMARY KEY,
    news_id uuid NOT NULL REFERENCES outbox ON DELETE CASCADE,
    page integer NOT NULL,
    recipient_id uuid NOT NULL REFERENCES recipients,
    due boolean NOT NULL DEFAULT true,
    sent_at timestamptz,
    status text CHECK (status IN ('done', 'unknown', 'failed')),
    answered_at timestamptz,
    UNIQUE (news_id, recipient_id, page)
);
COMMENT ON TABLE tellings IS 'A row is one record for one recipient: when every replica had it last, and what the recipient answered.';
COMMENT ON COLUMN tellings.due IS 'Whether it is to be sent, for the first time or again.';
CREATE INDEX tellings_to_send ON tellings (news_id) WHERE due;
CREATE INDEX tellings_unanswered ON tellings (news_id) WHERE status IS NULL OR status = 'failed';
CREATE INDEX tellings_by_recipient ON tellings (recipient_id);

CREATE TABLE outbox_follows (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL
);
COMMENT ON TABLE outbox_follows IS 'The one row says up to which position of the log rectifications and restrictions are in the outbox.';
INSERT INTO outbox_follows (position) VALUES (0);

CREATE TABLE reply_positions (
    topic_id uuid NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic_id, partition)
);
COMMENT ON TABLE reply_positions IS 'A row is how far one partition of the replies of recipients is read. It changes in the transaction of what they answered.';

CREATE TABLE epochs (
    epoch integer PRIMARY KEY,
    begun_at timestamptz NOT NULL,
    filled_at timestamptz,
    rewrapped bigint NOT NULL DEFAULT 0,
    replaced bigint NOT NULL DEFAULT 0,
    children bigint NOT NULL DEFAULT 0,
    destroyed_at timestamptz,
    effective_at timestamptz,
    CHECK ((destroyed_at IS NULL) = (effective_at IS NULL))
);
COMMENT ON TABLE epochs IS 'A row is a root epoch: since when new keys are wrapped under it, since when no key stands under an older one, and when its own root was destroyed.';
COMMENT ON COLUMN epochs.rewrapped IS 'How many keys were wrapped under this root instead of the one before, without being replaced.';
COMMENT ON COLUMN epochs.replaced IS 'How many keys were replaced at this turn, because they had lost a child.';
COMMENT ON COLUMN epochs.children IS 'How many keys and rows beneath these were wrapped anew.';
COMMENT ON COLUMN epochs.effective_at IS 'From when on nobody can bring the root back, as its keeper says.';

CREATE TABLE key_backups (
    made_at timestamptz PRIMARY KEY,
    told_at timestamptz NOT NULL
);
COMMENT ON TABLE key_backups IS 'A row is a copy of this database that the operator told of. It opens nothing once the roots of its time are destroyed.';

CREATE TABLE kept (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL
);
COMMENT ON TABLE kept IS 'The one row says up to which position of the log the key work of upstream facts is done.';
INSERT INTO kept (position) VALUES (0);

CREATE TABLE pairs (
    key_id uuid PRIMARY KEY,
    tenant uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    public_key bytea NOT NULL,
    epoch integer NOT NULL,
    wrapped bytea,
    bound bytea NOT NULL,
    made_at timestamptz NOT NULL,
    superseded_at timestamptz,
    cluster text,
    ends jsonb,
    due_at timestamptz,
    gone_at timestamptz,
    UNIQUE (tenant, number),
    CHECK ((wrapped IS NULL) = (gone_at IS NOT NULL)),
    CHECK ((ends IS NULL) = (cluster IS NULL) AND (ends IS NULL) = (due_at IS NULL)),
    CHECK (superseded_at IS NOT NULL OR (ends IS NULL AND gone_at IS NULL))
);
COMMENT ON TABLE pairs IS 'A row is a pair of keys of a tenant, to which publishers seal: the public half in clear, the private half wrapped under a root epoch until no topic holds what was sealed to it.';
COMMENT ON COLUMN pairs.number IS 'The epoch of the pair, as publishers know it; no root epoch.';
COMMENT ON COLUMN pairs.bound IS 'A MAC over tenant, key, number, public half and times: nobody else can have publishers seal to a key of theirs, or a pair pass for gone.';
COMMENT ON COLUMN pairs.cluster IS 'The id of the Kafka cluster at which the ends were noted.';
COMMENT ON COLUMN pairs.ends IS 'Where each partition of the consumed topics ended when the grace after its successor was over.';
COMMENT ON COLUMN pairs.due_at IS 'Before this the pair does not die: ends that were noted anew begin a further grace.';
CREATE UNIQUE INDEX pairs_current ON pairs (tenant) WHERE superseded_at IS NULL;

CREATE TABLE issued (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    issue bigint NOT NULL
);
COMMENT ON TABLE issued IS 'The one row counts the batches that were given keys, and the shreds. The log keeps the last number it saw, so that a key database older than its log is found. No sequence: one runs ahead of its commits, so that a copy could look newer than it is.';
INSERT INTO issued (issue) VALUES (0);
