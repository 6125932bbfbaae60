"""The words of docs/scaling.md; the numbers come from `benchmarks.scaling`."""

HEAD = """# Scaling, on paper

This page is written by `python -m benchmarks.scaling RUN.jsonl --write-doc`, from the JSON lines that
`python -m benchmarks --json > RUN.jsonl` prints; its words stand in `benchmarks/scaling_words.py`. Nobody has run
anything of this size. Each number is a figure of that run, or computed from figures by the command, or an assumption
that is named below. The figures come from a small machine with embedded servers, and from far less data than is spoken
of here: they say which part fills up first, and not on which day.
"""

TAIL = """
## How cells are cut

A cell is one log, one key database, one set of read models, its own topics, its own roots and ledger. Nothing is
shared between tenants, not keys, not references, not rows, so a cell is a set of tenants and nothing has to be cut
within one. A tenant lives in one cell. What routes to it is the publisher's topic: the name of a tenant is in every
record, and which tenants a publisher may speak for is a matter of its identity already.

A new tenant goes to the cell with the most room. Moving one to another cell is an export and an import: the records
are told again there, people get new inside ids and new keys, and the tenant is closed in the old cell, which destroys
all its keys in one stroke. Fences have to be told anew as well, or a late record would bring somebody back; until a
command does that, a tenant with fences stays where it is.

Appends take one lock a log, which is what makes position order commit order. More processes of `sealdesk consume` in
one cell overlap in parsing and sealing, not in the append; what does not fit into that goes into another cell.

## How old facts could move to cheap storage

This is not built. It needs no key and no seal to be touched: a seal names its place by tenant, stream and event id and
not by a table, and whoever is shredded later cannot be read in an old file either, because the key is elsewhere. That
is the point of the design: old facts may lie on slow disks and in backups of years, and forgetting somebody still
costs one key.

It takes four things:

1. **The table of facts is partitioned by range of position**, say 100 million to a partition. Positions only grow, and
   position order is commit order, so only the newest partition is ever written. The older ones can be put into a
   tablespace on cheap disks, or be detached, packed and attached again as foreign tables.
2. **What is unique over all partitions gets a table of its own.** PostgreSQL checks a unique index within a partition,
   unless it holds the partition key. Two are needed over all: the record digest with its ordinal (deduplication) and
   the version within a stream. Both become small tables beside the facts, written in the same append, under the same
   lock: digest and ordinal (18 bytes and an index), and the newest version and position of each stream.
3. **Who reads by stream has to know where to look.** Edits, merges, exports and proofs read all facts of one thing.
   The table of streams keeps the first and the last position of each, so that a read touches the partitions between
   them and no other. Most tickets live for days, within one partition.
4. **A rebuild reads everything, and so reads the cheap storage from end to end.** That is sequential, once a model. A
   copy of a read model's tables with its position, kept whenever a partition is closed, would let a rebuild begin
   there, as long as the fold is the same; after a change to the fold it begins at the beginning.

What stays on fast disks: the newest partitions, the two small tables, the key database, whose rows are read at random,
and the read models. These hold where a seal stands and not the seal, so a page of old tickets reads from the cheap
storage when it is revealed, by position, and at no other time. Deleting facts for good, at the end of a tenant's
retention, is then DROP TABLE of a partition whose facts are all purged; before that, as today, their keys are gone.
"""
