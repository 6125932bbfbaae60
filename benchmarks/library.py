"""The eventsourcing library as it comes: `EventStore.put`, the stock recorder, one key for all.

It is given what it needs to be fast: orjson as transcoder, its cipher on AES-GCM of `cryptography` instead of
pycryptodome, ids and versions of streams from memory, and less search for garbage while it stores a batch. It
deduplicates nothing.

It is spared one thing: psycopg's pipeline, which the recorder inserts in, does not flush what did not fit into the
socket at once, so that a batch of some hundred kilobytes now and then waits for ever (psycopg 3.3.9, on a socket file).
What the pipeline saves is four round trips of a thousand records.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.application import Application
from eventsourcing.persistence import Cipher, InfrastructureFactory, Transcoder
from eventsourcing.utils import Environment

from crypto.wrapping import NONCE_BYTES
from services import garbage
from services.log import LogDatastore, LogFactory
from services.records import Draft, Parcel


@dataclass(frozen=True)
class RecordStored:
    """One record as an event of the library. Topic, id and version are its columns, the rest is encrypted."""

    originator_id: UUID
    originator_version: int
    tenant: str
    source: str
    id: str
    type: str
    occurred_at: str
    data: dict[str, Any]


class OneKeyCipher(Cipher):
    """AES-256-GCM under the one key of the environment, with a random nonce, as the library's own cipher has it."""

    def __init__(self, environment: Environment) -> None:
        self._cipher = AESGCM(bytes.fromhex(environment["CIPHER_KEY"]))

    def encrypt(self, plaintext: bytes) -> bytes:
        """Encrypt one state."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plaintext, None)

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Decrypt one state."""
        return self._cipher.decrypt(ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], None)


class OrjsonTranscoder(Transcoder):
    """Encode with orjson, as sealdesk does."""

    def encode(self, obj: Any) -> bytes:
        """Encode a state."""
        return orjson.dumps(obj)

    def decode(self, data: bytes) -> Any:
        """Decode a state."""
        return orjson.loads(data)


class Library(Application[UUID]):
    """An application of the library with its stock mapper and recorder."""

    name = "library"

    def __init__(self, dsn: str) -> None:
        self._datastore = LogDatastore(dsn)
        self._streams: dict[object, UUID] = {}
        self._versions: Counter[UUID] = Counter()
        topic = f"{OneKeyCipher.__module__}:{OneKeyCipher.__qualname__}"
        super().__init__({"CIPHER_TOPIC": topic, "CIPHER_KEY": os.urandom(32).hex()})
        assert self.mapper.cipher is not None

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        """Use the stock factory on the pool of a DSN; recorder and mapper are the library's own."""
        return LogFactory(env, self._datastore)

    def construct_transcoder(self) -> Transcoder:
        """Use orjson."""
        return OrjsonTranscoder()

    @garbage.looked_for_less()
    def put(self, parcels: Sequence[Parcel]) -> None:
        """Store one batch."""
        self.events.put([self._event(draft) for parcel in parcels for draft in parcel.drafts])

    def _event(self, draft: Draft) -> RecordStored:
        stream = self._streams.get(draft.subject)
        if stream is None:
            stream = self._streams[draft.subject] = uuid4()
        self._versions[stream] += 1
        return RecordStored(
            stream,
            self._versions[stream],
            draft.tenant,
            draft.source,
            draft.id,
            draft.type,
            draft.occurred_at.isoformat(),
            draft.data.model_dump(exclude_unset=True),
        )

    def close(self) -> None:
        """Close the connections."""
        super().close()
        self._datastore.close()
