"""Facts of erasure: what a shred leaves on the log. They hold inside ids, a ground and a number, and no seal.

subject.shredded   a person's key was destroyed. Stream: the person's profile.
                   clear: subjects (ids, with everyone merged in), ground (word), line (number on the ledger)
content.shredded   a thing's keys were destroyed. Stream: that thing.
                   clear: thing (id), ground, line
tenant.closed      every key of a tenant was destroyed. Stream: the id of the tenant.
                   clear: ground, line
"""

from __future__ import annotations

SUBJECT_SHREDDED = "sealdesk.subject.shredded.v1"
CONTENT_SHREDDED = "sealdesk.content.shredded.v1"
TENANT_CLOSED = "sealdesk.tenant.closed.v1"
