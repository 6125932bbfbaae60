"""One person's one address has one canonical form."""

from __future__ import annotations

import traceback
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crypto.references import CANON, canonical
from domain.errors import ReferenceMalformed
from domain.personal import Kind, Reference


def canon(kind: Kind, value: str) -> str:
    """Give the canonical value without its version and kind."""
    version, found, text = canonical(Reference(kind, value)).decode().split("|", 2)
    assert (version, found) == (str(CANON), str(kind))
    return text


def canon_or_none(kind: Kind, value: str) -> str | None:
    try:
        return canon(kind, value)
    except ReferenceMalformed:
        return None


@pytest.mark.parametrize(
    "written",
    [
        "ann.abbott@example.org",
        "Ann.Abbott@Example.ORG",
        "  ann.abbott@example.org\t\n",
        "\u00a0ann.abbott@example.org\u3000",
        "ａｎｎ.abbott@ｅｘａｍｐｌｅ.org",
        "ann.abbott＠example.org",
        "ann.abbott@example。org",
    ],
)
def test_an_address_is_the_same_however_it_is_written(written: str) -> None:
    assert canon(Kind.EMAIL, written) == "ann.abbott@example.org"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("jörg@MÜNCHEN.example", "jörg@xn--mnchen-3ya.example"),
        ("jo\u0308rg@mu\u0308nchen.example", "jörg@xn--mnchen-3ya.example"),
        ("jörg@xn--mnchen-3ya.example", "jörg@xn--mnchen-3ya.example"),
        ("JÖRG@XN--MNCHEN-3YA.example", "jörg@xn--mnchen-3ya.example"),
        ("用户@例子.测试", "用户@xn--fsqu00a.xn--0zwm56d"),
        ('"a@b"@example.org', '"a@b"@example.org'),
        ("ann+tickets@example.org", "ann+tickets@example.org"),
        ("Straße@example.org", "strasse@example.org"),
    ],
)
def test_an_address_is_case_folded_and_its_domain_is_ascii(written: str, expected: str) -> None:
    assert canon(Kind.EMAIL, written) == expected


def test_a_tag_and_a_dot_of_the_local_part_are_part_of_the_address() -> None:
    forms = {canon(Kind.EMAIL, f"{local}@example.org") for local in ("annabbott", "ann.abbott", "annabbott+x")}
    assert len(forms) == 3


@pytest.mark.parametrize(
    "written",
    [
        *("", " ", "ann", "@", "ann@", "@example.org", "ann abbott@example.org", "Ann <ann@example.org>", "a@b,c@d"),
        *("a;b@c", "ann@exa mple.org", "ann@ex\u00adample\u2026.örg.", "ann@" + "ö" * 70 + ".org", "ann@\u0301.örg"),
    ],
)
def test_what_is_no_address_is_malformed(written: str) -> None:
    with pytest.raises(ReferenceMalformed):
        canonical(Reference(Kind.EMAIL, written))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("+49 30 901820", "+4930901820"),
        ("+49 (0)30 / 90 18 20", "+4930901820"),
        ("  +49-30-901820 ", "+4930901820"),
        ("tel:+49-30-901820", "+4930901820"),
        ("＋４９ ３０ ９０１８２０", "+4930901820"),
        ("+1 415 555 0100", "+14155550100"),
        ("030 / 90 18 20", "local:030901820"),
        ("030-901820", "local:030901820"),
        ("٠٣٠٩٠١٨٢٠", "local:030901820"),
        ("110", "local:110"),
    ],
)
def test_a_number_with_its_country_is_e164_and_without_it_is_its_digits(written: str, expected: str) -> None:
    assert canon(Kind.PHONE, written) == expected


@pytest.mark.parametrize("written", ["", " ", "-", "12", "call me", "+"])
def test_what_is_no_number_is_malformed(written: str) -> None:
    with pytest.raises(ReferenceMalformed):
        canonical(Reference(Kind.PHONE, written))


@pytest.mark.parametrize("kind", [Kind.PERSON, Kind.TICKET, Kind.EXTERNAL, Kind.TWITTER, Kind.FACEBOOK])
def test_an_id_is_trimmed_and_nothing_else(kind: Kind) -> None:
    assert canon(kind, "  Ab-12 ") == "Ab-12"
    assert canon(kind, "ab-12") != canon(kind, "Ab-12")
    for empty in ("", "  ", "\u3000"):
        with pytest.raises(ReferenceMalformed):
            canonical(Reference(kind, empty))


def test_the_kind_is_part_of_the_form_so_that_contact_7_is_not_ticket_7() -> None:
    assert len({canonical(Reference(kind, "777")) for kind in Kind if kind is not Kind.EMAIL}) == len(Kind) - 1


values = st.text(max_size=60) | st.builds(
    "{}@{}".format,
    st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=20),
    st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=20),
)


@given(st.sampled_from(Kind), values)
@example(Kind.EMAIL, "\u0345\u0301@x.org")
@example(Kind.EMAIL, "a@\u1e9e.org")
@example(Kind.EMAIL, "\u0390\u0308@x.org")
def test_the_canonical_form_is_its_own_canonical_form(kind: Kind, value: str) -> None:
    form = canon_or_none(kind, value)
    if form is not None:
        assert canon(kind, form) == form


def folded_before_the_host(value: str) -> str:
    local, at, host = unicodedata.normalize("NFD", value).rpartition("@")
    return local.casefold() + at + host


@given(values)
@example("0@ß")
@example("ŉ@x.org")
@example("\u0345\u0301@x.org")
@example("ᾲ@x.org")
def test_an_address_is_one_in_every_letter_case_and_normal_form(value: str) -> None:
    form = canon_or_none(Kind.EMAIL, value)
    if form is not None:
        others = {
            unicodedata.normalize("NFC", value),
            unicodedata.normalize("NFD", value),
            unicodedata.normalize("NFKC", value),
            unicodedata.normalize("NFKD", value),
            # Only the local part: folding a host would make another domain of it (ß, ς).
            folded_before_the_host(value),
            f"  {value}\t",
        }
        assert {canon_or_none(Kind.EMAIL, other) for other in others} == {form}


@given(st.sampled_from(Kind), values.filter(lambda value: len(value) > 3))
@example(Kind.EMAIL, "geheim\udcff@x.org")
@example(Kind.PERSON, "geheim\udcff")
@example(Kind.EMAIL, "ann@geheim\u2026örg..")
@example(Kind.PHONE, "geheim")
def test_what_is_malformed_is_never_repeated(kind: Kind, value: str) -> None:
    raised: ReferenceMalformed | None = None
    try:
        canonical(Reference(kind, value))
    except ReferenceMalformed as error:
        raised = error
    if raised is not None:
        assert "geheim" not in "".join(traceback.format_exception(raised))
        assert value.strip() not in str(raised)


def test_a_reference_does_not_show_its_value() -> None:
    assert repr(Reference(Kind.EMAIL, "ann@example.org")) == "Reference(email)"
    assert "ann" not in str(Reference(Kind.EMAIL, "ann@example.org"))
