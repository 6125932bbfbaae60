"""A seal opens to what was sealed, only where it was made, and only whole."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from crypto import sealing
from crypto.sealing import VERSION, Place, fields_of, header_of, open_seal, padme, seal
from crypto.wrapping import Key, context, new_key
from domain.errors import SealBroken
from domain.ids import EventId, KeyId, TenantId, ThingId

NONCE_BYTES, TAG_BYTES = 12, 16

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)
personals = st.dictionaries(names, json_values, max_size=6)
types = st.sampled_from(["sealdesk.ticket.opened.v1", "sealdesk.contact.created.v1", "x", ""]) | names


def place_for(personal: dict[str, Any], type_: str = "sealdesk.ticket.opened.v1") -> Place:
    return Place(TenantId(uuid4()), ThingId(uuid4()), EventId(uuid4()), type_, KeyId(uuid4()), tuple(sorted(personal)))


def open_at(sealed: bytes, key: Key, place: Place, **other: Any) -> dict[str, Any]:
    """Open a seal as the log does: with all of its place."""
    known = {
        "tenant": place.tenant,
        "stream": place.stream,
        "event_id": place.event_id,
        "type": place.type,
        "key_id": place.key_id,
        "fields": place.fields,
    }
    return open_seal(sealed, key, **(known | other))


PERSONAL = {"email": "ann@x.org", "name": "Ann Abbott"}
PLACE = place_for(PERSONAL)
KEY = new_key()
SEALED = seal(PLACE, KEY, PERSONAL)

#: One change for each part of a place.
ELSEWHERE: dict[str, Any] = {
    "tenant": TenantId(uuid4()),
    "stream": ThingId(uuid4()),
    "event_id": EventId(uuid4()),
    "type": "sealdesk.contact.updated.v1",
    "key_id": KeyId(uuid4()),
    "fields": ("address", "name"),
}


def head_of(place: Place) -> bytes:
    """Write a header by its definition, apart from the code under test."""
    parts = [place.tenant.bytes, place.stream.bytes, place.event_id.bytes, place.type.encode(), place.key_id.bytes]
    header = b"".join(len(part).to_bytes(2, "big") + part for part in [*parts, *(f.encode() for f in place.fields)])
    return bytes([1]) + len(header).to_bytes(2, "big") + header


@given(personals, types)
def test_what_was_sealed_opens_to_the_same(personal: dict[str, Any], type_: str) -> None:
    place, key = place_for(personal, type_), new_key()
    assert open_at(seal(place, key, personal), key, place) == personal


@given(personals, types)
def test_the_header_says_where_a_seal_was_made(personal: dict[str, Any], type_: str) -> None:
    place = place_for(personal, type_)
    sealed = seal(place, new_key(), personal)
    assert sealed.startswith(head_of(place))
    assert header_of(sealed) == place
    assert fields_of(sealed) == place.fields
    head = sealing.head_of(sealed)
    assert (head.key_id, head.type) == (place.key_id.bytes, place.type)
    assert sealed[: head.end] == head_of(place)
    # Nothing behind the header is looked at.
    assert sealing.head_of(sealed[: head.end]) == head


def test_a_read_model_opens_with_tenant_stream_and_field_alone() -> None:
    assert open_seal(SEALED, KEY, tenant=PLACE.tenant, stream=PLACE.stream, fields=("name",)) == PERSONAL


def test_a_seal_never_looks_the_same_twice() -> None:
    assert seal(PLACE, KEY, PERSONAL) != seal(PLACE, KEY, PERSONAL)


@pytest.mark.parametrize("part", ELSEWHERE)
def test_a_seal_that_is_presented_elsewhere_does_not_open(part: str) -> None:
    with pytest.raises(SealBroken):
        open_at(SEALED, KEY, PLACE, **{part: ELSEWHERE[part]})


@pytest.mark.parametrize("part", ELSEWHERE)
def test_a_seal_whose_header_was_rewritten_opens_neither_there_nor_here(part: str) -> None:
    moved = replace(PLACE, **{part: ELSEWHERE[part]})
    transplanted = head_of(moved) + SEALED[len(head_of(PLACE)) :]
    assert header_of(transplanted) == moved
    for place in (moved, PLACE):
        with pytest.raises(SealBroken):
            open_at(transplanted, KEY, place)


@given(st.data())
def test_no_ciphertext_opens_under_the_header_of_another_seal(data: st.DataObject) -> None:
    """Two facts under one key, which never happens, differing in any set of parts."""
    parts = data.draw(st.sets(st.sampled_from([*ELSEWHERE]), min_size=1))
    other = replace(PLACE, **{part: ELSEWHERE[part] for part in parts})
    theirs = seal(other, KEY, dict.fromkeys(other.fields, "Bob"))
    mixed = theirs[: len(head_of(other))] + SEALED[len(head_of(PLACE)) :]
    with pytest.raises(SealBroken):
        open_at(mixed, KEY, other)


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_a_seal_with_any_bit_flipped_does_not_open(bit: int) -> None:
    changed = bytearray(SEALED)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        open_seal(bytes(changed), KEY, tenant=PLACE.tenant, stream=PLACE.stream)


@given(st.integers(0, len(SEALED) - 1))
def test_a_seal_that_was_cut_does_not_open(length: int) -> None:
    with pytest.raises(SealBroken):
        open_at(SEALED[:length], KEY, PLACE)


@given(st.binary(min_size=1, max_size=40))
def test_a_seal_with_something_behind_it_does_not_open(more: bytes) -> None:
    with pytest.raises(SealBroken):
        open_at(SEALED + more, KEY, PLACE)


def test_a_seal_does_not_open_under_another_key() -> None:
    with pytest.raises(SealBroken):
        open_at(SEALED, new_key(), PLACE)


def test_a_seal_of_a_later_version_is_not_guessed_at() -> None:
    with pytest.raises(SealBroken, match="version"):
        open_at(bytes([VERSION + 1]) + SEALED[1:], KEY, PLACE)


def test_a_seal_that_holds_other_fields_than_its_header_says_does_not_open() -> None:
    for held in ({"name": "Ann"}, {**PERSONAL, "phone": "1"}, {"email": "x", "phone": "1"}):
        with pytest.raises(SealBroken):
            open_at(seal(PLACE, KEY, held), KEY, PLACE)


def test_a_field_that_a_seal_does_not_hold_is_not_found_in_it() -> None:
    with pytest.raises(SealBroken):
        open_seal(SEALED, KEY, tenant=PLACE.tenant, stream=PLACE.stream, fields=("phone",))


@given(st.binary(max_size=300))
@example(b"")
@example(bytes([1, 0, 0]))
@example(bytes([1]) + b"\xff\xff")
@example(bytes([1]) + len(h := context(*[bytes(16)] * 3, b"t", bytes(16), b"\xff")).to_bytes(2, "big") + h)
@example(bytes([1]) + len(h := context(*[bytes(15)] * 3, b"t", bytes(16))).to_bytes(2, "big") + h)
@example(bytes([1]) + len(h := context(*[bytes(16)] * 3, b"\xc3", bytes(16))).to_bytes(2, "big") + h)
def test_bytes_that_are_no_seal_are_broken_and_nothing_else(some: bytes) -> None:
    for read in (header_of, fields_of, sealing.head_of, lambda sealed: open_at(sealed, KEY, PLACE)):
        with suppress(SealBroken):
            read(some)


@given(st.lists(st.binary(max_size=20), max_size=8), st.binary(max_size=40))
def test_a_header_of_any_parts_parses_or_is_broken(parts: list[bytes], rest: bytes) -> None:
    header = context(*parts)
    some = bytes([VERSION]) + len(header).to_bytes(2, "big") + header + rest
    for read in (header_of, fields_of, sealing.head_of, lambda sealed: open_at(sealed, KEY, PLACE)):
        with suppress(SealBroken):
            read(some)


@given(st.lists(st.binary(max_size=20), max_size=5), st.lists(st.binary(max_size=20), max_size=5))
def test_no_two_lists_of_parts_give_the_same_associated_data(one: list[bytes], other: list[bytes]) -> None:
    assume(one != other)
    assert context(*one) != context(*other)


def by_the_paper(length: int) -> int:
    """Compute a Padme length as algorithm 1 of the paper states it."""
    exponent = math.floor(math.log2(length))
    bits_of_exponent = math.floor(math.log2(exponent)) + 1
    last_bits = exponent - bits_of_exponent
    mask = (1 << last_bits) - 1
    return (length + mask) & ~mask


@given(st.integers(2, 2**40))
def test_padme_lengths_are_those_of_the_paper(length: int) -> None:
    assert padme(length) == by_the_paper(length)


@pytest.mark.parametrize(
    ("length", "padded"),
    [
        *((0, 0), (1, 1), (2, 2), (8, 8), (9, 10), (17, 18), (33, 36), (65, 72), (129, 144), (257, 272)),
        *((1000, 1024), (1_000_000, 1_015_808)),
    ],
)
def test_some_padme_lengths_worked_out_by_hand(length: int, padded: int) -> None:
    assert padme(length) == padded


@given(st.integers(0, 2**40))
def test_padding_costs_at_most_twelve_percent_and_padded_lengths_stay(length: int) -> None:
    padded = padme(length)
    assert length <= padded <= length * 1.12
    assert padme(padded) == padded


@given(st.text(st.characters(max_codepoint=127, exclude_categories=["Cc"], exclude_characters='"\\'), max_size=500))
def test_the_length_of_a_seal_says_only_the_padded_length(text: str) -> None:
    sealed = seal(replace(PLACE, fields=("a",)), KEY, {"a": text})
    plain = 4 + len('{"a":""}') + len(text)
    assert len(sealed) - len(head_of(replace(PLACE, fields=("a",)))) == NONCE_BYTES + padme(plain) + TAG_BYTES


def test_nothing_that_was_sealed_stands_in_the_seal() -> None:
    for value in PERSONAL.values():
        assert value.encode() not in SEALED


def test_a_key_does_not_show_its_material_and_has_32_bytes() -> None:
    assert KEY.material.hex() not in repr(KEY)
    assert repr(KEY.material) not in repr(KEY)
    for length in (0, 16, 31, 33):
        with pytest.raises(SealBroken):
            Key(bytes(length))


def test_a_nonce_that_is_given_is_used_so_that_a_batch_can_read_randomness_once() -> None:
    nonce = bytes(range(NONCE_BYTES))
    sealed = seal(PLACE, KEY, PERSONAL, nonce)
    assert sealed[len(head_of(PLACE)) :][:NONCE_BYTES] == nonce
    assert open_at(sealed, KEY, PLACE) == PERSONAL


def test_the_inside_ids_of_a_header_are_those_of_the_place() -> None:
    assert isinstance(header_of(SEALED).key_id, UUID)
