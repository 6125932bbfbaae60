from __future__ import annotations

import hashlib
import hmac
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from hypothesis import given
from hypothesis import strategies as st

from crypto.recipients import NAME, STATUSES, is_signed, seal_news, sign_reply
from crypto.sealing import padme

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
secrets = st.binary(min_size=32, max_size=32)
statuses = st.sampled_from(sorted(STATUSES))


@given(secrets, st.uuids(), statuses)
def test_an_answer_is_signed_as_the_documents_say(secret: bytes, record: UUID, status: str) -> None:
    """Written out with the standard library, as a recipient would."""
    said = b"sealdesk-reply/1\n" + str(record).encode() + b"\n" + status.encode()
    assert sign_reply(secret, record, status) == hmac.new(secret, said, hashlib.sha256).digest()
    assert is_signed(secret, record, status, sign_reply(secret, record, status))


@given(st.lists(st.tuples(secrets, st.uuids(), statuses), min_size=2, max_size=2, unique=True))
def test_a_signature_is_good_for_one_secret_one_record_and_one_status(
    two: list[tuple[bytes, UUID, str]],
) -> None:
    one, other = two
    assert not is_signed(*other, sign_reply(*one))


@pytest.mark.parametrize("mac", [b"", b"\0" * 31, b"\0" * 32, b"\0" * 33])
def test_what_is_no_signature_is_none(mac: bytes) -> None:
    assert not is_signed(b"s" * 32, UUID(int=1), "done", mac)


@given(st.binary(max_size=300))
def test_sealed_news_opens_with_the_private_key_as_that_record_only(content: bytes) -> None:
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    record = UUID(int=7)
    sealed = seal_news(public, content, record=record, type_="t", tenant="acme", recipient="crm")
    assert SUITE.decrypt(sealed, private, f"sealdesk-news/1\n{record}\nt\nacme\ncrm".encode()) == content.ljust(
        padme(len(content)), b" "
    )
    for other in (f"{UUID(int=8)}\nt\nacme\ncrm", f"{record}\nu\nacme\ncrm", f"{record}\nt\nacme\nbooks"):
        with pytest.raises(InvalidTag):
            SUITE.decrypt(sealed, private, f"sealdesk-news/1\n{other}".encode())


@pytest.mark.parametrize("name", ["", "Ann", "ann abbott", "ann@example.org", "a" * 64, "-crm", "crm\n", "zoë"])
def test_a_name_is_a_small_word(name: str) -> None:
    assert NAME.fullmatch(name) is None
