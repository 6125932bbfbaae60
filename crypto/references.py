"""The canonical form of a reference, version 1: one person's one address gives one blind index.

e-mail    trimmed, NFKC, case-folded, the domain in IDNA 2008 (UTS 46) form
phone     E.164 (libphonenumber); a number that has no country keeps its digits, and only those
ids       trimmed, as text

The version is part of the blind index, so a later canon can stand beside this one.
"""

from __future__ import annotations

import re
import unicodedata

import idna
import phonenumbers

from domain.errors import ReferenceMalformed
from domain.personal import Kind, Reference

CANON = 1
_SHORTEST_PHONE_DIGITS = 3


def canonical(reference: Reference) -> bytes:
    """Give the canonical bytes of a reference: canon version, kind and value.

    Raises:
        ReferenceMalformed: the value cannot be of that kind. The message does not repeat it.
    """
    match reference.kind:
        case Kind.EMAIL:
            value = _email(reference.value)
        case Kind.PHONE:
            value = _phone(reference.value)
        case _:
            value = unicodedata.normalize("NFKC", reference.value).strip()
            if not value:
                raise ReferenceMalformed(f"this is no {reference.kind} id")
    try:
        return f"{CANON}|{reference.kind}|{value}".encode()
    except UnicodeEncodeError:
        raise ReferenceMalformed(f"this is no {reference.kind} reference: it is no text") from None


def _email(value: str) -> str:
    text = unicodedata.normalize("NFKC", value).strip()
    local, at, host = text.rpartition("@")
    if not at or not local or not host or re.search(r"[\s<>,;]", text):
        raise ReferenceMalformed("this is no e-mail address")
    # The host is not case-folded: that would make another domain of it (ß, ς). IDNA maps it.
    return f"{_folded(local)}@{_host(host.rstrip('.'))}"


def _folded(value: str) -> str:
    """Fold letter case and compatible forms away, so that folding once more changes nothing (Unicode, D146)."""
    folded = unicodedata.normalize("NFD", value).casefold()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())


def _host(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        raise ReferenceMalformed("this is no e-mail address: its domain cannot be") from None


def _phone(value: str) -> str:
    try:
        parsed = phonenumbers.parse(value, None)
        return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    except phonenumbers.NumberParseException:
        digits = "".join(str(unicodedata.digit(sign)) for sign in value if sign.isdigit())
    if len(digits) < _SHORTEST_PHONE_DIGITS:
        raise ReferenceMalformed("this is no phone number")
    return f"local:{digits}"
