"""Keep the keys of roots in an HSM, through PKCS #11 version 2.40 (OASIS).

An epoch has an AES-256 key of its own on the token: sensitive, not extractable, made by the device. It wraps by
CKM_AES_GCM with a nonce of 12 bytes from the device's own generator and a tag of 16; the associated data are the name
of the key. A wrapped root is `nonce (12) | ciphertext (32) | tag (16)`.

To destroy an epoch is C_DestroyObject. Objects of SoftHSM are files too: it is for tests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import NoSuchKey, PKCS11Error

from domain.errors import KeysUnavailable, SettingsWrong

NONCE_BITS = 96
NONCE_BYTES = NONCE_BITS // 8
TAG_BITS = 128
KEY_BITS = 256
#: PKCS #11 is initialised once a process, and a session serves one thread at a time.
_device = threading.RLock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Pkcs11Keeper:
    """Keep keys on one token. `module` is the vendor's library; the user's PIN stands in a private file."""

    module: Path
    token: str
    pin_file: Path = field(repr=False)

    def make(self, name: str) -> None:
        with self._session() as session:
            if self._found(session, name) is None:
                session.generate_key(
                    KeyType.AES,
                    KEY_BITS,
                    label=name,
                    store=True,
                    template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.MODIFIABLE: False},
                )

    def wrap(self, name: str, material: bytes) -> bytes:
        with self._session() as session:
            nonce = bytes(session.generate_random(NONCE_BITS))
            return nonce + bytes(self._key(session, name).encrypt(material, **_gcm(nonce, name)))

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        nonce, rest = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        with self._session() as session:
            return bytes(self._key(session, name).decrypt(rest, **_gcm(nonce, name)))

    def destroy(self, name: str) -> datetime:
        with self._session() as session:
            key = self._found(session, name)
            if key is not None:
                key.destroy()
            if self._found(session, name) is not None:
                raise KeysUnavailable("the HSM still finds a key that it was told to destroy")
        return datetime.now(UTC)

    def meaning_of_destruction(self) -> str:
        return (
            "A root is wrapped under a key in an HSM that cannot be read out, and its destruction destroys that key: "
            "what stood under it is beyond recovery if the HSM has no backup of that key."
        )

    @staticmethod
    def _found(session: Any, name: str) -> Any:
        try:
            return session.get_key(object_class=ObjectClass.SECRET_KEY, label=name)
        except NoSuchKey:
            return None

    def _key(self, session: Any, name: str) -> Any:
        key = self._found(session, name)
        if key is None:
            what = name.rpartition("/")[2]
            raise KeysUnavailable(f"the HSM has no key for {what}: it was destroyed, or the token is another")
        return key

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """Log in for one call. Neither the PIN nor what the library says is repeated."""
        try:
            pin = self.pin_file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise SettingsWrong(f"SEALDESK_HSM_PIN_FILE: {self.pin_file} cannot be read.") from None
        with _device:
            try:
                # By its one real name: a library that is loaded twice refuses.
                token = pkcs11.lib(str(self.module.resolve())).get_token(token_label=self.token)
                with token.open(rw=True, user_pin=pin) as session:
                    yield session
            except (PKCS11Error, RuntimeError) as error:
                raise KeysUnavailable(
                    f"the HSM refuses ({type(error).__name__}); look at SEALDESK_HSM_MODULE, _TOKEN and _PIN_FILE"
                ) from None


def _gcm(nonce: bytes, name: str) -> dict[str, Any]:
    given = pkcs11.GCMParams(nonce, aad=name.encode(), tag_bits=TAG_BITS)
    return {"mechanism": Mechanism.AES_GCM, "mechanism_param": given}
