"""Whatever writes a value down, one of its forms stands in what was written."""

from __future__ import annotations

import base64
import html
import json
import re
from contextlib import suppress
from urllib.parse import quote, urlencode

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.proving.forms import PIECE, forms_of, forms_of_key, is_telling, pieces, shortened, spellings
from services.proving.gathering import Known, needles_of

values = st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=PIECE)


@given(values, st.binary(max_size=7), st.binary(max_size=7))
def test_a_value_is_found_however_it_is_written_and_whatever_stands_beside_it(
    value: str, before: bytes, behind: bytes
) -> None:
    forms = forms_of(value)
    raw = before + value.encode() + behind
    written = {
        "as it is": raw,
        "JSON": json.dumps({"name": value}, ensure_ascii=False).encode(),
        "JSON in ASCII": json.dumps({"name": value}).encode(),
        "JSON of ours": orjson.dumps([value]),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "base64": base64.b64encode(raw),
        "base64 for URLs": base64.urlsafe_b64encode(raw),
        "URL": quote(value, safe="").encode(),
        "query": urlencode({"name": value}).encode(),
        "URL in small letters": _in_small_escapes(quote(value, safe="")),
        "URL of a browser": quote(value, safe="!'()*").encode(),
        "JSON in large escapes": re.sub(
            r"\\u([0-9a-f]{4})", lambda found: "\\u" + found[1].upper(), json.dumps(value)
        ).encode(),
        "HTML": html.escape(value).encode(),
        "HTML without quotes": html.escape(value, quote=False).encode(),
        "HTML of others": html.escape(value).replace("&#x27;", "&#39;").replace("&quot;", "&#34;").encode(),
    }
    with suppress(UnicodeEncodeError):
        written["Latin-1"] = before + value.encode("latin-1") + behind
    assert [how for how, where in written.items() if not any(form in where for form in forms)] == []


def _in_small_escapes(url: str) -> bytes:
    return re.sub("%..", lambda found: found[0].lower(), url).encode()


@pytest.mark.parametrize(
    "value", ["Zoë Öztürk-O'Brien", "a text of more than thirty-two signs, in Größe", "ann@example.org"]
)
def test_a_value_is_found_in_large_and_in_small_letters(value: str) -> None:
    needles = needles_of([Known((value,), ())], [])
    for written in (value, value.upper(), value.lower(), value.casefold(), quote(value.upper())):
        assert needles.matcher.count([written.encode()]).values > 0


@pytest.mark.parametrize("written", ["name=Ann+Abbott&", "name=Ann%20Abbott", "ANN ABBOTT", "ann abbott"])
def test_a_name_is_found_in_the_line_of_a_log(written: str) -> None:
    assert needles_of([Known(("Ann Abbott",), ())], []).matcher.count([written.encode()]).values > 0


def test_no_form_is_made_of_signs_that_could_not_be_written() -> None:
    assert not [form for form in forms_of("\u5f20\u4f1f\u738b\u82b3\u674e\u5a1c") if b"??" in form]


@given(st.text(min_size=1, max_size=400))
def test_of_a_long_value_enough_is_kept_to_look_for_it(value: str) -> None:
    assert list(pieces(shortened(value))) == list(pieces(value))
    assert len(shortened(value)) <= 3 * PIECE


def test_an_address_in_the_log_of_a_web_server_is_found() -> None:
    line = "GET /contacts?" + urlencode({"email": "ann@example.org"})
    assert any(form in line.encode() for form in forms_of("ann@example.org"))


@given(st.binary(min_size=60, max_size=88), st.binary(max_size=4))
def test_a_wrapped_key_is_found_as_bytes_in_hex_and_in_base64(wrapped: bytes, before: bytes) -> None:
    forms = forms_of_key(wrapped)
    for where in (before + wrapped, (before + wrapped).hex().encode(), base64.b64encode(before + wrapped)):
        assert any(form in where for form in forms)


@given(st.text(min_size=1, max_size=300))
def test_a_long_value_is_looked_for_by_its_beginning_its_middle_and_its_end(value: str) -> None:
    found = list(pieces(value))
    assert value.startswith(found[0])
    assert value.endswith(found[-1])
    assert all(len(piece) <= PIECE and piece in value for piece in found)
    assert len(found) == len(set(found)) <= 3


def test_a_number_is_looked_for_as_it_was_written_and_by_its_digits() -> None:
    assert {"+49 30 123-45678", "493012345678"} <= set(spellings("+49 30 123-45678"))
    assert "ann@example.org" in set(spellings("Ann@Example.org"))


@pytest.mark.parametrize("value", ["", "Ann", "-----------", "20", "1234567", "2026-03-01", "2026-03-01T12:00:00Z"])
def test_what_stands_everywhere_by_chance_is_not_looked_for(value: str) -> None:
    assert not is_telling(value)


@pytest.mark.parametrize("value", ["Zoë Lee", "Abbott", "+49 30 1234567", "4930123456", "a\ud800bcdef"])
def test_what_can_only_be_somebodys_is(value: str) -> None:
    assert is_telling(value)
    assert forms_of(value)
