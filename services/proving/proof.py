"""All places, searched for what a shred made unreadable, and what follows from it.

A place that cannot be searched keeps nobody from being forgotten: the proof says that it was not, and why. What was
found in a place before its search broke off counts like any other hit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from crypto import accounts
from crypto.keystore import KeyStore, rows_of
from domain.ids import TenantId
from services.finding import Found
from services.proving.gathering import Gathering, Known, needles_of
from services.proving.matching import Matcher
from services.proving.places import NotSearched, Place, Searched
from services.proving.statements import SQL
from services.residue import BACKUPS

#: Told the place that comes next, and how many there are.
Progress = Callable[[str, int], object]
#: What no place shows, whoever searches it: it is not in clear bytes.
NEVER_SEEN = (BACKUPS, "what is compressed in database files", "contents of attached files")
_BROKEN_OFF = "it could not be read to its end"


@dataclass(frozen=True, slots=True)
class Proof:
    """What a search found. `shreds` is how many shreds it was made for; `waiting` counts their news that live."""

    shreds: int
    values: int
    wrapped_keys: int
    left_out: int
    beyond: int
    waiting: int
    searched: Sequence[tuple[Place, Searched]]
    not_searched: Sequence[tuple[str, str]]

    @property
    def tables_read(self) -> bool:
        """Tell whether every place without which no proof holds was read to its end."""
        broken_off = {name for name, _ in self.not_searched}
        needed = [place.name for place, _ in self.searched if place.needed]
        return bool(needed) and broken_off.isdisjoint(needed)

    def leaves_unsearched(self) -> list[str]:
        """Name what was not searched, or not to its end."""
        return list(dict.fromkeys([*NEVER_SEEN, *(name for name, _ in self.not_searched)]))

    def as_entry(self) -> accounts.Body:
        """Write it for a certificate."""
        nowhere = {name for name, _ in self.not_searched}
        return accounts.proof_entry(
            shreds=self.shreds,
            values=self.values,
            wrapped_keys=self.wrapped_keys,
            left_out=self.left_out,
            beyond=self.beyond,
            waiting=self.waiting,
            tables_read=self.tables_read,
            places=[
                accounts.PlaceSearched(
                    place.name,
                    found.hits.bytes,
                    found.hits.values,
                    found.hits.wrapped_keys,
                    sum(getattr(found.hits, kind) for kind in place.residue),
                    found.unread,
                )
                for place, found in self.searched
                # What could not be looked into at all has no counts.
                if found.hits.bytes or place.name not in nowhere
            ],
            not_searched=list(self.not_searched),
        )


class Proving:
    """Look for what was shredded. `clear_words` is what stands in the clear by right."""

    def __init__(
        self,
        gathering: Gathering,
        keys: KeyStore,
        places: Callable[[], Sequence[Place]],
        clear_words: Callable[[], Iterable[bytes]],
    ) -> None:
        self._gathering = gathering
        self._keys = keys
        self._places = places
        self._clear_words = clear_words

    def known(self, tenant: TenantId, found: Found) -> Known:
        """Read what is to be looked for, before a shred."""
        # If the library is missing, or a setting wrong, it is missed before anything is destroyed.
        Matcher({b"a needle"})
        self._places()
        return self._gathering.of(tenant, found)

    def prove(self, known: Sequence[Known], shreds: Sequence[UUID], progress: Progress | None = None) -> Proof:
        """Search every place, after the shreds, for what was known before them."""
        needles = needles_of(known, self._clear_words())
        searched: list[tuple[Place, Searched]] = []
        not_searched: list[tuple[str, str]] = []
        places = self._places()
        for place in places:
            if progress is not None:
                progress(place.name, len(places))
            found = Searched()
            searched.append((place, found))
            try:
                place.search(needles.matcher, found)
            except NotSearched as why:
                not_searched.append((place.name, str(why)))
            except Exception:
                # Whatever it is: the key is dead, and there is nobody to whom an error would be of use.
                not_searched.append((place.name, _BROKEN_OFF))
            if found.unread:
                not_searched.append((place.name, accounts.UNREAD))
        with self._keys.transaction() as cursor:
            waiting = rows_of(cursor, SQL.waiting_news.sql, shreds=list(shreds))[0]["waiting"]
        return Proof(
            len(shreds),
            needles.values,
            needles.wrapped_keys,
            needles.left_out,
            needles.beyond,
            waiting,
            searched,
            not_searched,
        )
