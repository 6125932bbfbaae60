"""Inside ids. They are random, so they name nobody once the register row and the profile are gone.

No function here makes one: randomness comes from the rim (intake and shredding), as `uuid.UUID` of version 4.
"""

from __future__ import annotations

from typing import NewType
from uuid import UUID

TenantId = NewType("TenantId", UUID)
SubjectId = NewType("SubjectId", UUID)
ThingId = NewType("ThingId", UUID)
EventId = NewType("EventId", UUID)
KeyId = NewType("KeyId", UUID)

#: What belongs to the installation and to no tenant (a record that names no known tenant).
HOUSE = TenantId(UUID(int=0))
