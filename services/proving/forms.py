"""How a value may be written where it lies: as it is, in small or large letters, in JSON, HTML, URLs, hex, base64.

A long text is looked for by pieces from its beginning, its middle and its end: files of a database cut what is long
into parts, and logs cut it off.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote, quote_plus

#: What is shorter stands everywhere by chance: six random bytes once in 280 TB.
SHORTEST_BYTES = 6
#: Of fewer different signs, as a line of dashes, nobody can say whose it is.
FEWEST_SIGNS = 3
#: Signs of a piece. The shortest part into which PostgreSQL cuts a value has two thousand bytes.
PIECE = 32
#: A number of fewer digits is met by chance among times, positions and sizes.
FEWEST_DIGITS = 10
_NUMERIC = re.compile(r"[\d\s.,:;+()/TZ-]+")
#: What writers of HTML make of an apostrophe and a quote: nothing, Python, Go, others, XML.
_QUOTED = (("'", '"'), ("&#x27;", "&quot;"), ("&#39;", "&#34;"), ("&#39;", "&quot;"), ("&apos;", "&quot;"))
#: What writers of URLs leave as it is: Python's `quote`, and `encodeURIComponent` and `encodeURI` of browsers.
_LEFT_IN_URLS = ("", "!'()*", "!'()*;/?:@&=+$,#")
_JSON_ESCAPE, _URL_ESCAPE = re.compile(r"\\u([0-9a-f]{4})"), re.compile(r"%[0-9A-F]{2}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
#: Bytes of a wrapped key that are looked for: the nonce, which is random, and the beginning of what it wraps.
KEY_BYTES = 16


def is_telling(value: str) -> bool:
    """Tell whether a value is long enough to be anybody's, and no time or short number as clear fields have them."""
    if len(value.encode(errors="replace")) < SHORTEST_BYTES or len(set(value)) < FEWEST_SIGNS:
        return False
    if not _NUMERIC.fullmatch(value):
        return True
    return sum(sign.isdigit() for sign in value) >= FEWEST_DIGITS and not _DATE.match(value)


def shortened(value: str) -> str:
    """Keep of a long value what `pieces` gives of it, and no more."""
    return value if len(value) <= 3 * PIECE else "".join(_cut(value))


def spellings(value: str) -> Iterator[str]:
    """Give a value as it was written, in small letters, and of a number its digits alone."""
    yield value
    if len(value) <= PIECE:
        yield value.casefold()
        if _NUMERIC.fullmatch(value):
            yield "".join(sign for sign in value if sign.isdigit())


def pieces(value: str) -> Iterator[str]:
    """Cut a long value: its beginning, its middle and its end."""
    yield from dict.fromkeys(_cut(value))


def _cut(value: str) -> Iterator[str]:
    longer = max(0, len(value) - PIECE)
    return (value[start : start + PIECE] for start in (0, longer // 2, longer))


def cases(piece: str) -> set[str]:
    """Give a piece in small and in large letters, as indexes, forms and registers write it; not as it is."""
    return {piece.casefold(), piece.lower(), piece.upper()} - {piece}


def forms_of(piece: str) -> set[bytes]:
    """Write a piece of a value in every form in which it could lie around."""
    raw = piece.encode(errors="replace")
    return texts_of(piece) | {form for form in _in_text(raw) if len(form) >= SHORTEST_BYTES}


def texts_of(piece: str) -> set[bytes]:
    """Write a piece of a value as texts have it: as it is, in Latin-1, within JSON, HTML and URLs."""
    texts = {piece, json.dumps(piece, ensure_ascii=False)[1:-1]}
    # Some writers of JSON escape all that is not ASCII, and some the stroke. Of hex digits writers are of two minds.
    escaped = json.dumps(piece)[1:-1]
    texts |= {escaped, _JSON_ESCAPE.sub(lambda found: "\\u" + found[1].upper(), escaped)}
    urls = {quote(piece, safe=safe, errors="replace") for safe in _LEFT_IN_URLS} | {quote_plus(piece, errors="replace")}
    texts |= urls | {_URL_ESCAPE.sub(lambda found: found[0].lower(), url) for url in urls}
    texts |= {text.replace("/", "\\/") for text in texts}
    bare = html.escape(piece, quote=False)
    texts |= {bare.replace('"', double).replace("'", single) for single, double in _QUOTED}
    return _in_bytes(piece, texts)


def plain_texts_of(piece: str) -> set[bytes]:
    """Write a piece of a value as it is, in Latin-1, within JSON that is all ASCII, and within URLs."""
    return _in_bytes(piece, {piece, json.dumps(piece)[1:-1], quote(piece, safe="", errors="replace")})


def _in_bytes(piece: str, texts: set[str]) -> set[bytes]:
    forms = {text.encode(errors="replace") for text in texts}
    with suppress(UnicodeEncodeError):
        forms.add(piece.encode("latin-1"))
    return {form for form in forms if len(form) >= SHORTEST_BYTES}


def forms_of_key(wrapped: bytes) -> set[bytes]:
    """Write the beginning of a wrapped key in every form in which it could lie around."""
    raw = bytes(wrapped[:KEY_BYTES])
    return {raw, *_in_text(raw)}


def _in_text(raw: bytes) -> Iterator[bytes]:
    """Write bytes in hex (as PostgreSQL prints `bytea`) and in base64, at each of the three places in a group."""
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for before in range(3):
        whole = base64.b64encode(bytes(before) + raw)
        # Signs at the rims depend on the neighbours, too.
        inner = whole[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))
