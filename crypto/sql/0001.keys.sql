-- The key database: keys, register, fences, shreds. It never holds a word that a person wrote, in clear or sealed.

CREATE TABLE wrapping_keys (
    key_id uuid PRIMARY KEY,
    tenant uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('bucket', 'desk', 'day', 'page', 'index', 'fence', 'dedup', 'mark',
                                          'pseudonym')),
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
    certificate jsonb
);
COMMENT ON TABLE shreds IS 'A row is one shred and how far it got. Every start resumes what is not finished.';
COMMENT ON COLUMN shreds.epoch IS 'The newest root epoch that may have stood above what was destroyed.';
CREATE INDEX shreds_unfinished ON shreds (begun_at) WHERE step NOT IN ('finished', 'abandoned');
CREATE INDEX shreds_by_target ON shreds USING gin (targets);

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

CREATE TABLE issued (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    issue bigint NOT NULL
);
COMMENT ON TABLE issued IS 'The one row counts the batches that were given keys, and the shreds. The log keeps the last number it saw, so that a key database older than its log is found. No sequence: one runs ahead of its commits, so that a copy could look newer than it is.';
INSERT INTO issued (issue) VALUES (0);
