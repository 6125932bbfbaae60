"""The canonical bytes of what is signed, and the one way in which a time and bytes are written there.

Canonical bytes are those of RFC 8785 (JSON Canonicalization Scheme), for the part of JSON that is signed here:
objects with ASCII keys, arrays, strings, integers that a double holds exactly, true, false and null. Anything else,
floats above all, is refused.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import orjson

from domain.errors import CertificateInvalid

EXACT_INTEGERS = 2**53 - 1
DEEPEST = 16


def canonical(value: object) -> bytes:
    """Write the canonical bytes of a value, or refuse it.

    Raises:
        CertificateInvalid: it holds what canonical JSON cannot say.
    """
    _refuse_ambiguous(value, depth=0)
    try:
        # Of what passed, orjson writes what RFC 8785 asks for: shortest escapes, and ASCII keys sort alike.
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        raise CertificateInvalid("a text of the certificate is no valid Unicode") from None


def _refuse_ambiguous(value: object, *, depth: int) -> None:
    if depth > DEEPEST:
        raise CertificateInvalid("the certificate is nested too deeply")
    if value is None or type(value) in (str, bool):
        return
    if type(value) is int and abs(value) <= EXACT_INTEGERS:
        return
    if type(value) is list:
        for item in value:
            _refuse_ambiguous(item, depth=depth + 1)
        return
    if type(value) is dict and all(type(name) is str and name.isascii() for name in value):
        for item in value.values():
            _refuse_ambiguous(item, depth=depth + 1)
        return
    raise CertificateInvalid("the certificate holds a value that has no canonical form")


def as_time(at: datetime) -> str:
    """Write a time: UTC, to the second."""
    if at.utcoffset() is None:
        raise ValueError("a time is aware")
    return at.astimezone(UTC).isoformat(timespec="seconds")


def as_base64(content: bytes) -> str:
    """Write bytes."""
    return base64.b64encode(content).decode()
