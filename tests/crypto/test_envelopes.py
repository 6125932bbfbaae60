"""An envelope opens beside its attributes and nowhere else, and is HPKE as RFC 9180 and others have it."""

from __future__ import annotations

import io
import itertools
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from hypothesis import example, given
from hypothesis import strategies as st

from crypto.envelopes import FORMAT, VERSION, envelope_bytes, open_envelope, seal_envelope
from crypto.sealing import padme
from crypto.wrapping import context
from domain.errors import SealBroken

PRIVATE = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
ATTRIBUTES = {
    "specversion": "1.0",
    "type": "sealdesk.ticket.opened.v1",
    "source": "/crm",
    "tenant": "acme",
    "time": "2026-05-17T12:00:00Z",
    "id": "aGFzaA",
    "pairepoch": "3",
}
EVENT = b'{"subject": "ticket 20", "data": {"email": "zephyrine.quux@example.org"}}'

names = st.sampled_from(["tenant", "source", "id", "subject", "time", "a", "b", "ab"])
attributes = st.dictionaries(names, st.text(max_size=9)).map(lambda found: ATTRIBUTES | found)


def seal(event: bytes = EVENT, epoch: int = 3, outside: dict[str, str] = ATTRIBUTES) -> bytes:
    return seal_envelope(event, PRIVATE.public_key(), epoch=epoch, attributes=outside)


def opened(envelope: bytes, epoch: int = 3, outside: dict[str, str] = ATTRIBUTES) -> bytes:
    return open_envelope(envelope, PRIVATE, epoch=epoch, attributes=outside)


@given(st.binary(max_size=3000), st.integers(1, 2**31 - 1), attributes)
@example(b"", 1, ATTRIBUTES)
def test_what_was_sealed_opens_and_its_length_says_little(event: bytes, epoch: int, outside: dict[str, str]) -> None:
    envelope = seal(event, epoch, outside)

    assert opened(envelope, epoch, outside) == event
    assert len(envelope) == envelope_bytes(len(event)) == 1 + 32 + padme(4 + len(event)) + 16


def test_nothing_of_the_event_can_be_read_in_its_envelope_and_no_two_envelopes_are_alike() -> None:
    one, other = seal(), seal()

    assert b"zephyrine" not in one
    # Not even the first bytes after the version are the same: each has a key of its own.
    assert one[1:33] != other[1:33]
    assert one[33:] != other[33:]


def test_every_byte_counts() -> None:
    envelope = seal(b"{}")

    # RFC 7748 lets a receiver ignore the highest bit of a public key; the one that was sent is in the key schedule.
    for place, bit in itertools.product(range(len(envelope)), (1, 0x80)):
        changed = bytearray(envelope)
        changed[place] ^= bit
        with pytest.raises(SealBroken):
            opened(bytes(changed))


@given(st.binary(max_size=120), st.integers(0, 200))
@example(bytes([VERSION]) + bytes(80), 0)
def test_anything_else_is_no_envelope(content: bytes, cut: int) -> None:
    with pytest.raises(SealBroken):
        opened(content)
    envelope = seal()
    with pytest.raises(SealBroken):
        opened(envelope[: min(cut, len(envelope) - 1)])
    with pytest.raises(SealBroken):
        opened(envelope + content + b"\0")


@given(attributes, attributes, st.integers(1, 9), st.integers(1, 9))
def test_an_envelope_opens_only_beside_its_attributes(
    here: dict[str, str], there: dict[str, str], epoch: int, other: int
) -> None:
    envelope = seal(epoch=epoch, outside=here)

    if (here, epoch) == (there, other):
        assert opened(envelope, other, there) == EVENT
    else:
        with pytest.raises(SealBroken):
            opened(envelope, other, there)


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_an_attribute_that_is_changed_left_out_or_renamed_breaks_the_seal(name: str) -> None:
    without = {key: value for key, value in ATTRIBUTES.items() if key != name}
    moved = without | {f"{name}x": ATTRIBUTES[name]}

    for outside in (ATTRIBUTES | {name: ATTRIBUTES[name] + "0"}, ATTRIBUTES | {name: ""}, without, moved):
        with pytest.raises(SealBroken):
            opened(seal(), outside=outside)


@pytest.mark.parametrize("outside", [{"one": "more"}, {"one": ""}, {"long": "x" * 70_000}, {"odd": "\ud800"}])
def test_an_attribute_more_breaks_the_seal_whatever_it_is(outside: dict[str, str]) -> None:
    with pytest.raises(SealBroken):
        opened(seal(), outside=ATTRIBUTES | outside)


def test_another_pair_opens_nothing() -> None:
    with pytest.raises(SealBroken):
        open_envelope(seal(), X25519PrivateKey.generate(), epoch=3, attributes=ATTRIBUTES)


def test_padding_that_is_not_ours_is_refused() -> None:
    for plain in (b"\0\0\0\2{}\0", b"\0\0\0\2{}\0\1", b"\0\0\0\xff{}\0\0", b"", b"\0\0\0\2{}" + bytes(100)):
        sent = Hpke(32, 2).sealed(PRIVATE.public_key(), info(), plain)
        with pytest.raises(SealBroken):
            opened(bytes([VERSION]) + sent)


# -- others' HPKE -------------------------------------------------------------------------------------------


def info(outside: dict[str, str] = ATTRIBUTES, epoch: int = 3) -> bytes:
    said = [part.encode() for pair in sorted(outside.items()) for part in pair]
    return context(FORMAT, outside["tenant"].encode(), outside["source"].encode(), epoch.to_bytes(4, "big"), *said)


class Schedule(NamedTuple):
    key: bytes
    base_nonce: bytes


class Hpke:
    """Base mode from the text of RFC 9180, sections 4, 4.1 and 5.1, with nothing but HMAC, X25519 and AES-GCM."""

    def __init__(self, key_bytes: int, aead: int) -> None:
        self.key_bytes = key_bytes
        self.kem = b"KEM" + (0x20).to_bytes(2, "big")
        self.suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x20, 1, aead))

    @staticmethod
    def _hmac(key: bytes, said: bytes) -> bytes:
        mac = HMAC(key, hashes.SHA256())
        mac.update(said)
        return mac.finalize()

    def extract(self, suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
        return self._hmac(salt or bytes(32), b"HPKE-v1" + suite + label + material)

    def expand(self, suite: bytes, key: bytes, label: bytes, said: bytes, length: int) -> bytes:
        labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + said
        return self._hmac(key, labeled + b"\1")[:length]

    def shared_secret(self, agreed: bytes, sent: bytes, receiver: bytes) -> bytes:
        extracted = self.extract(self.kem, b"", b"eae_prk", agreed)
        return self.expand(self.kem, extracted, b"shared_secret", sent + receiver, 32)

    def schedule(self, shared: bytes, info: bytes) -> Schedule:
        said = b"\0" + self.extract(self.suite, b"", b"psk_id_hash", b"")
        said += self.extract(self.suite, b"", b"info_hash", info)
        secret = self.extract(self.suite, shared, b"secret", b"")
        key = self.expand(self.suite, secret, b"key", said, self.key_bytes)
        return Schedule(key, self.expand(self.suite, secret, b"base_nonce", said, 12))

    def sealed(self, to: X25519PublicKey, info: bytes, plain: bytes) -> bytes:
        ephemeral = X25519PrivateKey.generate()
        sent = ephemeral.public_key().public_bytes_raw()
        key, nonce = self.schedule(self.shared_secret(ephemeral.exchange(to), sent, to.public_bytes_raw()), info)
        return sent + AESGCM(key).encrypt(nonce, plain, b"")

    def opened(self, private: X25519PrivateKey, info: bytes, content: bytes, aad: bytes = b"") -> bytes:
        agreed = private.exchange(X25519PublicKey.from_public_bytes(content[:32]))
        shared = self.shared_secret(agreed, content[:32], private.public_key().public_bytes_raw())
        key, nonce = self.schedule(shared, info)
        return AESGCM(key).decrypt(nonce, content[32:], aad)


def test_the_other_implementation_computes_what_rfc_9180_says() -> None:
    # RFC 9180, appendix A.1.1: X25519, HKDF-SHA256 and AES-128-GCM, base mode, sequence number 0.
    hpke = Hpke(16, 1)
    receiver = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
    )
    sent = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    shared = hpke.shared_secret(
        receiver.exchange(X25519PublicKey.from_public_bytes(sent)), sent, receiver.public_key().public_bytes_raw()
    )

    assert shared.hex() == "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc"
    assert hpke.schedule(shared, info) == Schedule(
        bytes.fromhex("4531685d41d65f03dc48f6b8302c05b0"), bytes.fromhex("56d890e5accaaf011cff4b7d")
    )
    cipher = "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
    assert hpke.opened(receiver, info, sent + bytes.fromhex(cipher), b"Count-0") == b"Beauty is truth, truth beauty"


@given(st.binary(max_size=400))
def test_an_implementation_from_the_text_of_the_rfc_opens_ours_and_we_open_its(event: bytes) -> None:
    plain = len(event).to_bytes(4, "big") + event
    plain += bytes(padme(len(plain)) - len(plain))
    hpke = Hpke(32, 2)

    assert hpke.opened(PRIVATE, info(), seal(event)[1:]) == plain
    assert opened(bytes([VERSION]) + hpke.sealed(PRIVATE.public_key(), info(), plain)) == event


def test_tink_opens_ours_and_we_open_those_of_tink() -> None:
    # Tink has no wheel for Intel Macs.
    tink = pytest.importorskip("tink")
    from tink import cleartext_keyset_handle, hybrid
    from tink.proto import hpke_pb2

    hybrid.register()
    template = hybrid.hybrid_key_templates.DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM_RAW
    handle = tink.new_keyset_handle(template)
    written = io.StringIO()
    cleartext_keyset_handle.write(tink.JsonKeysetWriter(written), handle)
    [key] = tink.JsonKeysetReader(written.getvalue()).read().key
    private = X25519PrivateKey.from_private_bytes(hpke_pb2.HpkePrivateKey.FromString(key.key_data.value).private_key)
    plain = len(EVENT).to_bytes(4, "big") + EVENT
    plain += bytes(padme(len(plain)) - len(plain))

    ours = seal_envelope(EVENT, private.public_key(), epoch=3, attributes=ATTRIBUTES)
    theirs = handle.public_keyset_handle().primitive(hybrid.HybridEncrypt).encrypt(plain, info())

    assert handle.primitive(hybrid.HybridDecrypt).decrypt(ours[1:], info()) == plain
    assert open_envelope(bytes([VERSION]) + theirs, private, epoch=3, attributes=ATTRIBUTES) == EVENT
