from __future__ import annotations

import base64
import copy
import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from crypto.accounts import shred_certificate, told_entry
from crypto.canonical import EXACT_INTEGERS, canonical
from crypto.certificates import load_or_create, reissued, sign, verify
from domain.errors import CertificateInvalid, KeysUnavailable, RootsUnsafe, SettingsWrong

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
OURS = ("format", "public_key", "signature")

names = st.text(st.characters(max_codepoint=127), max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.none() | st.booleans() | st.integers(-EXACT_INTEGERS, EXACT_INTEGERS) | texts
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
bodies = st.dictionaries(names.filter(lambda name: name not in OURS), values, min_size=1, max_size=4)


def body(**changes: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "certificate_id": UUID(int=5),
        "kind": "subject",
        "ground": "17-1-b",
        "issued_at": datetime(2026, 11, 24, 9, 30, tzinfo=UTC),
        "unreadable_since": datetime(2026, 11, 24, 9, 29, tzinfo=UTC),
        "unrecoverable_since": None,
        "meaning_of_destruction": "if no copy exists",
        "ledger_salt": b"s" * 32,
        "ledger_commitment": b"c" * 32,
        "counts": {"facts": 12, "things": 3, "references": 2, "read model rows": 4},
        "residue_found": 0,
        "searched": ["log", "read models"],
        "not_searched": ["backups of the log"],
        "living_text_searched": False,
        "living_text_found": None,
    }
    return shred_certificate(**(said | changes))


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List every place of a JSON value below its root."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, item in inner for path in [(*here, key), *paths(item, (*here, key))]]


def holder(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


@given(bodies)
def test_what_was_signed_verifies_after_any_journey_through_json(said: dict[str, Any]) -> None:
    certificate = sign(said, KEY)
    travelled = json.loads(json.dumps(certificate, indent=2, sort_keys=True))
    assert not verify(travelled).origin_checked
    assert verify(travelled, PUBLIC).origin_checked
    assert verify(travelled, PEM).origin_checked


@given(said=bodies, data=st.data())
def test_any_changed_value_fails_verification(said: dict[str, Any], data: st.DataObject) -> None:
    certificate = sign(said, KEY)
    changed = copy.deepcopy(certificate)
    path = data.draw(st.sampled_from(paths(changed)))
    before = holder(changed, path)[path[-1]]
    value = data.draw(values)
    assume(json.dumps(value, sort_keys=True) != json.dumps(before, sort_keys=True))
    holder(changed, path)[path[-1]] = value
    for known in (None, PUBLIC):
        with pytest.raises(CertificateInvalid):
            verify(changed, known)


@given(said=bodies, data=st.data())
def test_anything_taken_out_or_added_fails_verification(said: dict[str, Any], data: st.DataObject) -> None:
    certificate = sign(said, KEY)
    path = data.draw(st.sampled_from(paths(certificate)))
    cut = copy.deepcopy(certificate)
    del holder(cut, path)[path[-1]]
    extra = data.draw(names.filter(lambda name: name not in certificate))
    for changed in (cut, certificate | {extra: data.draw(values)}):
        with pytest.raises(CertificateInvalid):
            verify(changed)


@given(data=st.data())
def test_any_changed_character_of_key_and_signature_fails_verification(data: st.DataObject) -> None:
    certificate = sign(body(), KEY)
    name = data.draw(st.sampled_from(["public_key", "signature"]))
    text = certificate[name]
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(max_codepoint=127).filter(lambda letter: letter != text[place]))
    with pytest.raises(CertificateInvalid):
        verify(certificate | {name: text[:place] + letter + text[place + 1 :]})


@pytest.mark.parametrize("name", ["public_key", "signature"])
def test_spare_bits_of_key_and_signature_cannot_be_changed(name: str) -> None:
    certificate = sign(body(), KEY)
    end = certificate[name].index("=")
    changed = certificate[name][: end - 1] + chr(ord(certificate[name][end - 1]) + 1) + certificate[name][end:]
    assert base64.b64decode(changed, validate=True) == base64.b64decode(certificate[name])
    with pytest.raises(CertificateInvalid, match="not whole"):
        verify(certificate | {name: changed})


def test_a_certificate_signed_by_somebody_else_is_whole_but_not_ours() -> None:
    certificate = sign(body(), Ed25519PrivateKey.generate())
    assert not verify(certificate).origin_checked
    for known in (PUBLIC, PEM):
        with pytest.raises(CertificateInvalid, match="another key"):
            verify(certificate, known)


def test_a_signature_over_the_bare_bytes_is_no_certificate() -> None:
    certificate = sign(body(), KEY)
    said = {name: value for name, value in certificate.items() if name != "signature"}
    bare = base64.b64encode(KEY.sign(canonical(said))).decode()
    with pytest.raises(CertificateInvalid):
        verify(said | {"signature": bare})


@pytest.mark.parametrize(
    "wrong",
    [1.0, float("nan"), 2**53, -(2**53), "\ud800", b"bytes", (1,), {"é": 1}, {1: 1}, UUID(int=1)],
    ids=repr,
)
def test_what_has_no_canonical_form_is_not_signed(wrong: object) -> None:
    for said in ({"a": wrong}, {"a": [{"b": wrong}]}):
        with pytest.raises(CertificateInvalid):
            sign(said, KEY)


def test_a_certificate_nested_without_end_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(CertificateInvalid):
        verify(sign(body(), KEY) | {"deep": deep})


@pytest.mark.parametrize("name", OURS)
def test_a_body_cannot_bring_its_own_signature(name: str) -> None:
    with pytest.raises(CertificateInvalid):
        sign({name: "x"}, KEY)


@pytest.mark.parametrize("certificate", [{}, [], None, {"format": "sealdesk-certificate/1"}, {"format": []}])
def test_what_is_no_certificate_is_invalid(certificate: Any) -> None:
    with pytest.raises(CertificateInvalid):
        verify(certificate)


def test_canonical_bytes_are_those_of_rfc_8785() -> None:
    """The string is the example of section 3.2.2 of the RFC; the order of ASCII keys is that of 3.2.3."""
    said = {
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
        "1": 1,
        "\r": -1,
        "": {},
    }
    written = r"""{"":{},"\r":-1,"1":1,"literals":[null,true,false],"string":"€$\u000f\nA'B\"\\\\\"/"}"""
    assert canonical(said) == written.encode()


def test_the_body_says_what_was_done_and_nothing_else() -> None:
    certificate = sign(body(), KEY)
    assert certificate == {
        "format": "sealdesk-certificate/1",
        "certificate_id": "00000000-0000-0000-0000-000000000005",
        "kind": "subject",
        "ground": "17-1-b",
        "issued_at": "2026-11-24T09:30:00+00:00",
        "unreadable_since": "2026-11-24T09:29:00+00:00",
        "unrecoverable_since": None,
        "meaning_of_destruction": "if no copy exists",
        "sources": "no topics are read here",
        "source_cleared_since": None,
        "ledger_commitment": {
            "salt": base64.b64encode(b"s" * 32).decode(),
            "commitment": base64.b64encode(b"c" * 32).decode(),
        },
        "counts": {"facts": 12, "things": 3, "references": 2, "read model rows": 4},
        "residue": {
            "found": 0,
            "not_judged": 0,
            "searched": ["log", "read models"],
            "not_searched": ["backups of the log"],
        },
        "living_text": {"searched": False, "found": None, "not_judged": 0},
        "quarantine": {"dropped": 0, "not_judged": 0, "not_judged_gone_by": None},
        "told": {
            "recipients": 0,
            "acknowledged": 0,
            "unnamed": 0,
            "in_clear": 0,
            "in_clear_until": None,
            "deadline": None,
            "outbox_key_destroyed_at": None,
        },
        "public_key": base64.b64encode(PUBLIC).decode(),
        "signature": certificate["signature"],
    }


def test_what_becomes_known_later_is_said_under_the_same_id_and_nothing_else_changes() -> None:
    first = sign(body(), KEY)
    at = datetime(2026, 12, 1, 8, tzinfo=UTC)
    deadline, until = datetime(2026, 12, 24, 9, 30, tzinfo=UTC), datetime(2026, 12, 8, 8, tzinfo=UTC)
    told = told_entry(recipients=2, acknowledged=1, deadline=deadline, in_clear=1, in_clear_until=until)
    again = reissued(first, {"told": told, "source_cleared_since": at}, KEY, at=at)
    verify(again, PEM)
    assert {name for name in again if again[name] != first[name]} == {
        *("told", "source_cleared_since", "issued_at", "signature")
    }
    assert again["told"] == {
        "recipients": 2,
        "acknowledged": 1,
        "unnamed": 0,
        "in_clear": 1,
        "in_clear_until": "2026-12-08T08:00:00+00:00",
        "deadline": "2026-12-24T09:30:00+00:00",
        "outbox_key_destroyed_at": None,
    }
    assert again["source_cleared_since"] == again["issued_at"] == "2026-12-01T08:00:00+00:00"


def test_nothing_is_signed_anew_where_nothing_changes() -> None:
    first = sign(body(), KEY)
    at = datetime(2026, 12, 1, 8, tzinfo=UTC)
    assert reissued(first, {"told": first["told"], "source_cleared_since": None}, KEY, at=at) is first


@pytest.mark.parametrize("name", ["certificate_id", "counts", "ground", "unreadable_since", "anything"])
def test_what_a_certificate_says_of_the_shred_itself_does_not_change(name: str) -> None:
    with pytest.raises(CertificateInvalid):
        reissued(sign(body(), KEY), {name: None}, KEY, at=datetime(2026, 12, 1, tzinfo=UTC))


def test_living_text_that_was_searched_says_what_was_found() -> None:
    assert body(living_text_searched=True, living_text_found=0, living_text_not_judged=2)["living_text"] == {
        "searched": True,
        "found": 0,
        "not_judged": 2,
    }


def test_seals_that_were_changed_are_counted_and_not_as_found() -> None:
    residue = body(residue_not_judged=3)["residue"]
    assert (residue["found"], residue["not_judged"]) == (0, 3)


@pytest.mark.parametrize(("searched", "found"), [(True, None), (False, 0)])
def test_living_text_cannot_be_counted_unsearched(searched: bool, found: int | None) -> None:
    with pytest.raises(ValueError, match="living text"):
        body(living_text_searched=searched, living_text_found=found)


@pytest.mark.parametrize(
    "private",
    [
        "anna@example.org",
        "9b2f1c52-6c1e-4a55-9d7a-0a1b2c3d4e5f",
        "9b2f1c526c1e4a559d7a0a1b2c3d4e5f",
        "",
        "Zoë",
    ],
)
@pytest.mark.parametrize("where", ["kind", "ground", "counts", "searched", "not_searched"])
def test_an_id_or_an_address_does_not_get_into_a_body(where: str, private: str) -> None:
    wrong: dict[str, Any] = {
        "kind": private,
        "ground": private,
        "counts": {private: 1},
        "searched": [private],
        "not_searched": [private],
    }
    with pytest.raises(ValueError, match="vocabulary"):
        body(**{where: wrong[where]})


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        body(issued_at=datetime(2026, 11, 24, tzinfo=UTC).replace(tzinfo=None))


def test_the_signing_key_is_made_once_and_its_public_half_lies_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "signing"
    key = load_or_create(folder)
    certificate = sign(body(), key)
    again = load_or_create(folder)
    assert again.private_bytes_raw() == key.private_bytes_raw()
    assert verify(certificate, (folder / "certificate.pub").read_bytes()).origin_checked
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "certificate.key").stat().st_mode) == 0o600


def test_a_missing_public_half_is_exported_again(tmp_path: Path) -> None:
    load_or_create(tmp_path / "signing")
    public = tmp_path / "signing" / "certificate.pub"
    before = public.read_bytes()
    public.unlink()
    load_or_create(tmp_path / "signing")
    assert public.read_bytes() == before


def test_a_public_half_of_another_key_is_refused(tmp_path: Path) -> None:
    load_or_create(tmp_path / "signing")
    (tmp_path / "signing" / "certificate.pub").write_bytes(PEM)
    with pytest.raises(SettingsWrong):
        load_or_create(tmp_path / "signing")


def test_a_signing_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    load_or_create(tmp_path / "signing")
    (tmp_path / "signing" / "certificate.key").chmod(0o640)
    with pytest.raises(RootsUnsafe):
        load_or_create(tmp_path / "signing")


def test_a_file_that_holds_no_signing_key_is_refused(tmp_path: Path) -> None:
    load_or_create(tmp_path / "signing")
    (tmp_path / "signing" / "certificate.key").write_bytes(b"nothing")
    with pytest.raises(KeysUnavailable):
        load_or_create(tmp_path / "signing")


@pytest.mark.parametrize("known", [b"", b"short", b"-----BEGIN PUBLIC KEY-----\n"])
def test_what_is_no_public_key_is_said_to_be_none(known: bytes) -> None:
    with pytest.raises(SettingsWrong):
        verify(sign(body(), KEY), known)
