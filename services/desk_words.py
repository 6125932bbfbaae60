"""Free text of officers (who, why, notes), sealed under the desk of its tenant."""

from __future__ import annotations

import base64
from uuid import UUID, uuid4

from crypto.keystore import KeyStore
from crypto.opening import open_leaves
from crypto.roots import Roots
from crypto.sealing import Place, header_of, open_seal, seal
from crypto.tree import BUCKET_CHILDREN, LeafOrder, Tree
from crypto.wrapping import Key
from domain.ids import EventId, KeyId, TenantId, ThingId

WORDS_TYPE = "sealdesk.desk.words.v1"


def seal_words(keys: KeyStore, roots: Roots, tenant: TenantId, about: UUID, **words: str | None) -> bytes:
    """Seal some words about a person, a thing or an access, each under its own leaf of the desk."""
    with keys.transaction() as cursor:
        return seal_words_in(Tree(cursor, roots), tenant, about, **words)


def seal_words_in(tree: Tree, tenant: TenantId, about: UUID, **words: str | None) -> bytes:
    """Seal some words in a transaction of the key database. They open once that has committed."""
    said = {name: text for name, text in words.items() if text is not None}
    [desk] = tree.places(tenant, "desk", 1, BUCKET_CHILDREN)
    order = LeafOrder(about, KeyId(uuid4()), (desk,))
    [key] = tree.issue_leaves(tenant, [order])
    place = Place(tenant, ThingId(about), EventId(uuid4()), WORDS_TYPE, order.key_id, tuple(sorted(said)))
    return seal(place, key, said)


def open_words(keys: KeyStore, roots: Roots, tenant: TenantId, about: UUID, sealed: bytes) -> dict[str, str]:
    """Open words that `seal_words` sealed; empty when their key is gone."""
    place = ThingId(about), header_of(sealed).key_id
    with keys.transaction() as cursor:
        key = open_leaves(Tree(cursor, roots), tenant, [place])[place]
    if not isinstance(key, Key):
        return {}
    return open_seal(sealed, key, tenant=tenant, stream=place[0], type=WORDS_TYPE)


def as_text(sealed: bytes) -> str:
    """Write a seal as text, for events that hold JSON."""
    return base64.b64encode(sealed).decode()


def from_text(text: str) -> bytes:
    """Read a seal that `as_text` wrote."""
    return base64.b64decode(text)
