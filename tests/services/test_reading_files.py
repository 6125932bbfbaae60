from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.errors import SettingsWrong
from examples import make_desk
from services import reading_files
from services.csv_map import CsvMap
from services.reading_files import batches, cloudevents, opened, rows
from services.records import RECORD_BYTES, Parcel

ROOT = Path(__file__).parents[2]

MAP = CsvMap.model_validate(
    {
        "source": "/test",
        "id": {"columns": ["id"]},
        "fact": [
            {
                "type": "sealdesk.contact.created.v1",
                "time": {"constant": "2024-01-01T00:00:00Z"},
                "data": {"email": {"column": "mail"}, "name": {"column": "name"}},
                "when": {"filled": ["mail"]},
            }
        ],
    }
)


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "source": "/test",
        "type": "sealdesk.contact.created.v1",
        "time": "2024-01-01T00:00:00Z",
        "data": {"email": f"person{number}@example.org"},
        **more,
    }


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def read(content: bytes) -> list[Parcel]:
    return list(cloudevents(io.BytesIO(content), "acme"))


def codes(parcels: list[Parcel]) -> list[str | None]:
    return [parcel.error.code if parcel.error else None for parcel in parcels]


def csv_rows(content: bytes, mapping: CsvMap = MAP) -> list[Parcel]:
    return list(rows(io.BytesIO(content), mapping, "acme"))


def names(parcels: list[Parcel]) -> list[str | None]:
    return [getattr(parcel.drafts[0].data, "name") if parcel.drafts else None for parcel in parcels]  # noqa: B009


# -- CloudEvents -------------------------------------------------------------------------------------------


def test_every_line_is_one_event() -> None:
    parcels = read(lines(event(1), event(2)))

    assert [parcel.drafts[0].id for parcel in parcels] == ["1", "2"]


def test_blank_lines_a_byte_order_mark_and_a_missing_last_line_break_do_not_matter() -> None:
    content = b"\xef\xbb\xbf\r\n  \n" + lines(event(1)) + b"\r\n\n" + lines(event(2)).rstrip()

    assert codes(read(content)) == [None, None]


def test_a_broken_line_costs_itself_only() -> None:
    content = lines(event(1)) + b'{"id": "2", "data\n[1, 2]\n[]\n\xff\xfe\n' + lines(event(3))

    assert codes(read(content)) == [None, "not_json", "not_an_object", "not_an_object", "not_json", None]


def test_a_file_without_anything_has_no_events() -> None:
    assert read(b"") == read(b"\xef\xbb\xbf") == read(b" \n\n") == read(b"[]") == []


def test_of_a_line_that_is_too_long_only_what_may_be_kept_is_read() -> None:
    content = lines(event(1)) + b"x" * (2 * RECORD_BYTES + 7) + b"\n" + lines(event(2))

    parcels = read(content)

    assert codes(parcels) == [None, "too_large", None]
    assert parcels[1].raw == b"x" * RECORD_BYTES


@pytest.mark.parametrize("layout", [None, 2])
@pytest.mark.parametrize("chunk", [1, 7, 64 * 1024])
def test_an_array_of_events_is_read_as_if_they_stood_on_lines(
    monkeypatch: pytest.MonkeyPatch, layout: int | None, chunk: int
) -> None:
    monkeypatch.setattr(reading_files, "_CHUNK_BYTES", chunk)
    tricky = {"email": "a@example.org", "name": 'a "quoted", [b] {c}\\', "tags": ["x", "y"]}
    records = [event(1), event(2, data=tricky), event(3)]

    parcels = read(b" \n" + json.dumps(records, indent=layout).encode())

    assert [json.loads(parcel.raw) for parcel in parcels] == records
    assert codes(parcels) == [None, None, None]


def test_an_array_that_is_damaged_gives_what_is_whole() -> None:
    whole = json.dumps([event(1), event(2)]).encode()

    assert codes(read(whole[:-9])) == [None, "not_json"]
    assert codes(read(whole + b" and more")) == [None, None, "not_json"]
    assert codes(read(whole.replace(b'"id": "2"', b'"id": 2x'))) == [None, "not_json"]


def test_of_an_element_that_is_too_long_only_what_may_be_kept_is_read() -> None:
    content = b'["' + b"x" * (2 * RECORD_BYTES) + b'",' + json.dumps(event(1)).encode() + b"]"

    parcels = read(content)

    assert codes(parcels) == ["too_large", None]
    assert len(parcels[0].raw) == RECORD_BYTES


@given(st.binary())
@example(b'["\\')
@example(b"]]}}[[{{,")
def test_no_bytes_ever_stop_the_reading_of_events(content: bytes) -> None:
    for start in (b"", b"[", b'[{"'):
        for parcel in read(start + content):
            assert parcel.error is not None


@given(st.lists(st.dictionaries(st.text(), st.text() | st.lists(st.text())), min_size=1))
def test_an_array_is_cut_exactly_between_its_elements(records: list[dict[str, Any]]) -> None:
    parcels = read(json.dumps(records, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    assert [json.loads(parcel.raw) for parcel in parcels] == records


def test_the_desk_that_is_shipped_is_what_its_script_writes_and_has_two_broken_records() -> None:
    content = b"".join(make_desk.lines())

    assert (ROOT / "examples" / "desk.jsonl").read_bytes() == content
    assert [code for code in codes(read(content)) if code] == ["not_json", "unknown_type"]


# -- CSV ---------------------------------------------------------------------------------------------------


def test_every_row_is_one_parcel_and_a_cell_may_have_several_lines() -> None:
    parcels = csv_rows(b'\xef\xbb\xbfid,mail , name\r\n1,a@example.org,"A ""B""\nC"\r\n\r\n2,b@example.org,\r\n')

    assert codes(parcels) == [None, None]
    assert names(parcels) == ['A "B"\nC', None]


def test_a_row_that_makes_no_fact_is_passed_over() -> None:
    assert len(csv_rows(b"id,mail,name\n1,,A\n2,b@example.org,B\n")) == 1


def test_a_row_with_too_few_or_too_many_cells_is_refused_and_kept() -> None:
    parcels = csv_rows(b"id,mail,name\n1,a@example.org\n2,b@example.org,B,B\n3,c@example.org,C\n")

    assert codes(parcels) == ["wrong_cells", "wrong_cells", None]
    assert json.loads(parcels[0].raw) == ["1", "a@example.org"]


@pytest.mark.parametrize(
    "broken",
    [
        b'2,b@example.org,"B',  # The quote is never closed, though the next row has quotes.
        b'2,"b@example.org,B',
        b'2,b@example.org,"B"B',
    ],
)
def test_broken_quotes_cost_the_line_they_begin_in(broken: bytes) -> None:
    content = b"id,mail,name\n1,a@example.org,A\n" + broken + b'\n3,c@example.org,"C"\n4,d@example.org,D\n'

    parcels = csv_rows(content)

    assert codes(parcels) == [None, "broken_quoting", None, None]
    assert names(parcels) == ["A", None, "C", "D"]
    assert parcels[1].raw.strip() == broken


def test_a_quote_that_nobody_closes_does_not_swallow_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_files, "ROW_LINES", 5)
    content = b'id,mail,name\n0,x@example.org,"X\n' + b"".join(b"%d,p@example.org,P\n" % n for n in range(1, 50))

    assert codes(csv_rows(content)) == ["broken_quoting"] + [None] * 49


def test_a_line_that_is_too_long_costs_itself_only() -> None:
    content = b"id,mail,name\n1,a@example.org," + b"x" * (RECORD_BYTES + 99) + b"\n2,b@example.org,B\n"

    parcels = csv_rows(content)

    assert codes(parcels) == ["too_large", None]
    assert len(parcels[0].raw) == RECORD_BYTES


def test_bytes_that_are_not_in_the_encoding_cost_their_row_only() -> None:
    parcels = csv_rows(b"id,mail,name\n1,a@example.org,\xff\xe4\n2,b@example.org,B\n")

    assert codes(parcels) == ["wrong_encoding", None]
    assert json.loads(parcels[0].raw)["name"] == "\udcff\udce4"


def test_a_map_says_how_its_file_is_written() -> None:
    mapping = MAP.model_copy(
        update={"dialect": MAP.dialect.model_copy(update={"delimiter": ";", "encoding": "cp1252"})}
    )

    assert names(csv_rows("id;mail;name\n1;a@example.org;Zoë\n".encode("cp1252"), mapping)) == ["Zoë"]


@pytest.mark.parametrize(
    ("header", "said"), [(b"id,name\n", '"mail"'), (b"id,mail,mail,name\n", "more than one"), (b"", "id")]
)
def test_a_header_that_does_not_fit_the_map_is_refused_before_the_first_row(header: bytes, said: str) -> None:
    with pytest.raises(SettingsWrong, match=said):
        csv_rows(header + b"1,2,3\n")


def test_a_file_in_quite_another_encoding_is_refused_without_quoting_it() -> None:
    mapping = MAP.model_copy(update={"dialect": MAP.dialect.model_copy(update={"encoding": "utf-16"})})

    with pytest.raises(SettingsWrong, match="utf-16") as caught:
        csv_rows(b"id,mail,name\n1,karl@example.org,Karl\n", mapping)

    assert "karl" not in repr(caught.value) + repr(caught.value.__cause__)


@given(st.binary())
def test_no_bytes_ever_stop_the_reading_of_rows(content: bytes) -> None:
    for parcel in csv_rows(b"id,mail,name\n" + content):
        assert parcel.error is not None or len(parcel.drafts) == 1


@given(st.lists(st.text("karl\",\n\r;'é\udcff", min_size=3), min_size=1, max_size=5))
def test_no_part_of_a_refused_row_is_ever_repeated(cells: list[str]) -> None:
    content = b"id,mail,name\n" + ",".join(["SECRET" + cell for cell in cells]).encode("utf-8", "surrogateescape")

    for parcel in csv_rows(content):
        assert "SECRET" not in repr(parcel) + str(parcel.error) + repr(parcel.error)


# -- files -------------------------------------------------------------------------------------------------


def test_a_file_may_be_packed_or_be_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = lines(event(1))
    (tmp_path / "plain.jsonl").write_bytes(content)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    for path in (str(tmp_path / "plain.jsonl"), str(tmp_path / "packed.jsonl.gz"), "-"):
        with opened(path) as file:
            assert codes(list(cloudevents(file, "acme"))) == [None]


def test_a_packed_file_that_breaks_off_gives_what_is_whole_and_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "packed.gz"
    path.write_bytes(gzip.compress(lines(*map(event, range(5000))))[:-4000])
    parcels: list[Parcel] = []

    with pytest.raises(SettingsWrong, match="no whole gzip file"), opened(str(path)) as file:
        parcels.extend(cloudevents(file, "acme"))

    assert len(parcels) > 100


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "nowhere.gz"):
        with pytest.raises(SettingsWrong, match=path.name), opened(str(path)):
            pass


def test_items_are_gathered_into_batches() -> None:
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batches([], 2)) == []
