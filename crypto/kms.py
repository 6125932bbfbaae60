"""Keep the keys of roots in AWS KMS: one customer managed key an epoch, found by its alias.

A root is encrypted by KMS itself (AES-256-GCM) with the name of its epoch as encryption context, so that it opens only
as what it was made for. https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html

Keys that KMS makes can only be scheduled for deletion: it waits 7 to 30 days and can be cancelled until then, so a
destruction takes effect late. Of a key with imported material the material is deleted at once (`imported`); whoever
imported it must not keep it, and here nobody does.
https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys-delete-key-material.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from boto3.session import Session
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from crypto.wrapping import KEY_BYTES
from domain.errors import KeysUnavailable

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

#: The shortest that KMS allows.
PENDING_DAYS = 7


@dataclass(frozen=True, slots=True)
class KmsKeeper:
    """Keep keys in one account and region of AWS. Who we are is said as for every client of boto3."""

    endpoint: str | None = None
    imported: bool = False

    def make(self, name: str) -> None:
        with _reachable():
            kms = self._client()
            if _found(kms, name) is not None:
                return
            made = kms.create_key(
                Description=name, KeySpec="SYMMETRIC_DEFAULT", Origin="EXTERNAL" if self.imported else "AWS_KMS"
            )
            key = made["KeyMetadata"]["KeyId"]
            if self.imported:
                self._import(kms, key)
            try:
                kms.create_alias(AliasName=_alias(name), TargetKeyId=key)
            except kms.exceptions.AlreadyExistsException:
                # Another process was faster, and its key counts.
                kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=PENDING_DAYS)

    def wrap(self, name: str, material: bytes) -> bytes:
        with _reachable():
            return self._client().encrypt(KeyId=_alias(name), Plaintext=material, EncryptionContext=_context(name))[
                "CiphertextBlob"
            ]

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        with _reachable():
            return self._client().decrypt(KeyId=_alias(name), CiphertextBlob=wrapped, EncryptionContext=_context(name))[
                "Plaintext"
            ]

    def destroy(self, name: str) -> datetime:
        with _reachable():
            kms = self._client()
            found = _found(kms, name)
            if found is None:
                return datetime.now(UTC)
            if self.imported:
                kms.delete_imported_key_material(KeyId=found["KeyId"])
                return datetime.now(UTC)
            if found["KeyState"] != "PendingDeletion":
                kms.schedule_key_deletion(KeyId=found["KeyId"], PendingWindowInDays=PENDING_DAYS)
                found = kms.describe_key(KeyId=found["KeyId"])["KeyMetadata"]
            effective: datetime = found["DeletionDate"]
            return effective.astimezone(UTC)

    def meaning_of_destruction(self) -> str:
        if self.imported:
            return (
                "A root is encrypted under imported key material in AWS KMS that is kept nowhere else, and its "
                "destruction deletes that material at once: what stood under it is beyond recovery then."
            )
        return (
            f"A root is encrypted under a key of AWS KMS, and its destruction schedules the deletion of that key: what "
            f"stood under it is beyond recovery once the waiting period of {PENDING_DAYS} days is over and nobody has "
            "cancelled it."
        )

    @staticmethod
    def _import(kms: KMSClient, key: str) -> None:
        """Give a key its material: 32 bytes from the operating system, encrypted to KMS and then forgotten."""
        given = kms.get_parameters_for_import(
            KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_4096"
        )
        public = load_der_public_key(given["PublicKey"])
        assert isinstance(public, rsa.RSAPublicKey)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=None)
        kms.import_key_material(
            KeyId=key,
            ImportToken=given["ImportToken"],
            EncryptedKeyMaterial=public.encrypt(os.urandom(KEY_BYTES), oaep),
            ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
        )

    def _client(self) -> KMSClient:
        return Session().client("kms", endpoint_url=self.endpoint)


def _found(kms: KMSClient, name: str) -> Any:
    try:
        return kms.describe_key(KeyId=_alias(name))["KeyMetadata"]
    except kms.exceptions.NotFoundException:
        return None


def _alias(name: str) -> str:
    return f"alias/{name}"


def _context(name: str) -> dict[str, str]:
    return {"sealdesk": name}


@contextmanager
def _reachable() -> Iterator[None]:
    """Translate what KMS refuses; of what it says, only the code is repeated."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        raise KeysUnavailable(f"KMS refuses ({code}); look at the credentials, and if the key was destroyed") from None
    except BotoCoreError as error:
        raise KeysUnavailable(f"KMS cannot be reached ({type(error).__name__}); look at SEALDESK_ROOTS") from None
