from __future__ import annotations

import csv
import io
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import SettingsWrong
from domain.vocabularies import word
from services.csv_map import CsvMap, read_map, read_vocabularies
from services.csv_rows import parcel_of_row, replayed_row
from services.reading_files import opened, rows
from services.records import Parcel

ROOT = Path(__file__).parents[2]
TICKETS = ROOT / "examples" / "support_tickets.toml"

MAP = """
source = "/imports/test"
timezone = "Europe/Berlin"
[id]
columns = ["No", "Part"]
[formats]
"Opened" = "%d.%m.%Y %H:%M"
[values.status]
"Offen" = "open"
"*" = "pending"
[values.stars]
"5" = 103
[[fact]]
type = "sealdesk.ticket.opened.v1"
time = { column = "Opened" }
subject = "ticket {No}-{Part}"
[fact.data]
email = { column = "Mail" }
name = { template = "{First} {Last}" }
status = { column = "Status", values = "status" }
cc_emails = { column = "Copies", split = ";" }
spam = { column = "Spam", as = "flag" }
due_by = { column = "Due", format = "iso" }
custom_fields = { age = { column = "Age", as = "integer" }, score = { column = "Score", as = "number" } }
[[fact]]
type = "sealdesk.ticket.rated.v1"
time = { column = "Rated", format = "iso" }
subject = "ticket {No}-{Part}"
when = { filled = ["Stars"], equal = { "Status" = ["Zu", "Gelöst"] } }
[fact.data]
rating = { column = "Stars", values = "stars" }
"""

ROW = {
    "No": "7",
    "Part": "1",
    "Opened": "24.12.2023 18:30",
    "Mail": "ida@example.org",
    "First": "Ida",
    "Last": "",
    "Status": "Zu",
    "Copies": "a@example.org; ;b@example.org",
    "Spam": "no",
    "Due": "2024-01-02",
    "Age": "41",
    "Score": "2.5",
    "Rated": "2024-01-03T10:00:00Z",
    "Stars": "5",
}


@pytest.fixture
def mapping(tmp_path: Path) -> CsvMap:
    return written(tmp_path, MAP)


def written(folder: Path, text: str) -> CsvMap:
    path = folder / "map.toml"
    path.write_text(text)
    return read_map(path)


def test_one_row_makes_several_facts(mapping: CsvMap) -> None:
    parcel = parcel_of_row(mapping, ROW, "acme")

    assert parcel.error is None
    opened_fact, rated = parcel.drafts
    assert (opened_fact.id, rated.id, opened_fact.tenant) == ("7/1/0", "7/1/1", "acme")
    # Half past six on Christmas Eve in Berlin.
    assert opened_fact.occurred_at == datetime(2023, 12, 24, 17, 30, tzinfo=UTC)
    assert opened_fact.data.model_dump(exclude_unset=True) == {
        "email": "ida@example.org",
        "name": "Ida",
        "status": "pending",
        "cc_emails": ["a@example.org", "b@example.org"],
        "spam": False,
        "due_by": datetime(2024, 1, 1, 23, tzinfo=UTC),
        "custom_fields": {"age": 41, "score": 2.5},
    }
    assert rated.data.model_dump(exclude_unset=True) == {"rating": 103}


def test_an_empty_cell_means_that_the_field_is_absent(mapping: CsvMap) -> None:
    empty = {"Mail": " ", "First": "", "Copies": ";", "Spam": "", "Due": "", "Age": "", "Score": "\t"}

    (draft,) = parcel_of_row(mapping, ROW | empty | {"Stars": ""}, "acme").drafts

    assert draft.data.model_fields_set == {"status"}


def test_a_fact_keeps_its_id_whichever_other_facts_a_row_makes(mapping: CsvMap) -> None:
    mapping = mapping.model_copy(update={"fact": [mapping.fact[1], mapping.fact[0]]})

    (draft,) = parcel_of_row(mapping, ROW | {"Stars": ""}, "acme").drafts

    assert draft.id == "7/1/1"


def test_row_ids_of_several_columns_are_never_mixed_up(mapping: CsvMap) -> None:
    rows_alike = [{"No": "a/b", "Part": "c"}, {"No": "a", "Part": "b/c"}, {"No": "a%2Fb", "Part": "c"}]

    ids = {parcel_of_row(mapping, ROW | row, "acme").drafts[0].id for row in rows_alike}

    assert len(ids) == 3


@pytest.mark.parametrize(
    ("column", "cell", "code"),
    [
        ("Opened", "2023-13-45", "wrong_cell"),
        ("Opened", "", "no_time"),
        ("Due", "soon, says Karl", "wrong_cell"),
        ("Age", "forty", "wrong_cell"),
        ("Age", "9" * 30, "wrong_cell"),
        ("Score", "Infinity", "wrong_cell"),
        ("Spam", "perhaps", "wrong_cell"),
        ("Stars", "five", "unknown_word"),
        ("No", " ", "no_row_id"),
        ("Mail", "\udcff", "wrong_encoding"),
        ("Mail", "x" * 2000, "wrong_field"),
    ],
)
def test_a_cell_that_cannot_be_read_refuses_the_row_and_is_not_repeated(
    mapping: CsvMap, column: str, cell: str, code: str
) -> None:
    parcel = parcel_of_row(mapping, ROW | {column: cell}, "acme")

    assert parcel.error is not None
    assert parcel.error.code == code
    assert not parcel.drafts
    if cell.strip():
        assert cell not in str(parcel.error) + repr(parcel.error) + repr(parcel)
    if code in ("wrong_cell", "unknown_word", "no_row_id"):
        assert parcel.error.path == f"column {column}"


def test_a_kept_row_is_taken_once_the_map_is_mended(mapping: CsvMap, tmp_path: Path) -> None:
    refused = parcel_of_row(mapping, ROW | {"Stars": "4"}, "acme")
    mended = written(tmp_path, MAP.replace('"5" = 103', '"5" = 103\n"4" = 101'))

    again = replayed_row(mended, refused.raw, "acme")

    assert refused.error is not None
    assert again.error is None
    assert [draft.type for draft in again.drafts] == ["sealdesk.ticket.opened.v1", "sealdesk.ticket.rated.v1"]


@given(st.binary())
def test_no_bytes_that_were_kept_ever_raise(raw: bytes) -> None:
    assert replayed_row(CsvMap.model_validate(read_map(TICKETS)), raw, "acme").error is not None


@given(st.dictionaries(st.sampled_from(sorted(ROW)), st.text(min_size=6), min_size=1))
def test_no_cell_of_a_refused_row_is_ever_repeated(tmp_path: Path, cells: dict[str, str]) -> None:
    parcel = parcel_of_row(written(tmp_path, MAP), ROW | cells, "acme")

    said = str(parcel.error) + repr(parcel.error) + repr(parcel)
    assert not [cell for cell in (ROW | cells).values() if len(cell) >= 6 and cell in said]
    if parcel.error is not None:
        assert parcel.error.__cause__ is None
        assert parcel.error.__suppress_context__ or parcel.error.__context__ is None


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("sealdesk.ticket.rated.v1", "sealdesk.ticket.judged.v1", "fact.1.type"),
        ("sealdesk.ticket.rated.v1", "sealdesk.contact.mentioned.v1", "fact.1.type"),
        ("email =", "emial =", "fact.0.data.emial"),
        ("email =", "unknown_fields =", "fact.0.data.unknown_fields"),
        ('values = "stars"', 'values = "moons"', r"\[values.moons\]"),
        ("rating = {", "feedback = {", "fact.1.data.rating"),
        ('"Europe/Berlin"', '"Europe/Atlantis"', "timezone"),
        ('"%d.%m.%Y %H:%M"', '"%Q"', "formats.Opened"),
        ("[id]", "[idd]", "idd"),
        ('source = "/imports/test"', "", "source: this key is missing"),
        ("split =", "splitt =", "fact.0.data.cc_emails.splitt"),
        ('as = "flag"', 'as = "flagge"', "fact.0.data.spam.as"),
        ('{ column = "Mail" }', "{ }", "fact.0.data.email"),
        ('{ column = "Mail" }', '{ column = "Mail", constant = 1 }', "say one of"),
        ('{ column = "Mail" }', '{ a = { column = "Mail" } }', "no table"),
        ('subject = "ticket {No}-{Part}"\n', "", "what the fact is about"),
        ("[id]", "[vocabularies]\ndirection = ['red']\n[id]", "vocabularies.direction"),
        ("[id]", "[vocabularies]\ntype = ['other']\n[id]", "vocabularies.type"),
        ("[id]", "[dialect]\nencoding = 'klingon'\n[id]", "dialect.encoding"),
        ("[id]", "[dialect]\ndelimiter = ';;'\n[id]", "dialect.delimiter"),
        ("[id]", "[id", "no TOML"),
    ],
)
def test_a_mistake_in_a_map_is_found_before_the_import_and_named(
    tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    assert right in MAP
    with pytest.raises(SettingsWrong, match=said):
        written(tmp_path, MAP.replace(right, wrong))


def test_a_map_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsWrong, match="nowhere"):
        read_map(tmp_path / "nowhere.toml")


def test_vocabularies_are_read_from_a_map_or_from_a_file_of_their_own() -> None:
    assert len(read_vocabularies(TICKETS)["product"]) == 42
    assert set(read_vocabularies(ROOT / "examples" / "acme_vocabulary.toml")) >= {"type", "group", "product"}


# -- the map that is shipped ------------------------------------------------------------------------

COLUMNS = [
    "Ticket ID",
    "Customer Name",
    "Customer Email",
    "Customer Age",
    "Customer Gender",
    "Product Purchased",
    "Date of Purchase",
    "Ticket Type",
    "Ticket Subject",
    "Ticket Description",
    "Ticket Status",
    "Resolution",
    "Ticket Priority",
    "Ticket Channel",
    "First Response Time",
    "Time to Resolution",
    "Customer Satisfaction Rating",
]


def excerpt() -> bytes:
    """Thirty rows as in the public data set, of people who were invented here."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for number in range(1, 31):
        status = ("Open", "Pending Customer Response", "Closed")[number % 3]
        closed = status == "Closed"
        writer.writerow(
            [
                number,
                f"Person {number}",
                f"person{number % 25}@example.org",
                18 + number,
                ("Other", "Female", "Male")[number % 3],
                ("GoPro Hero", "LG Smart TV", "iPhone")[number % 3],
                f"2021-03-{number:02}",
                ("Technical issue", "Billing inquiry")[number % 2],
                "Product setup",
                f'I have a "problem" with the {{product_purchased}}.\n\nCall Person {number + 1}, please.',
                status,
                "Case maybe show recently." if closed else "",
                ("Low", "Medium", "High", "Critical")[number % 4],
                ("Social media", "Chat", "Email", "Phone")[number % 4],
                "" if status == "Open" else "2023-06-01 12:15:36",
                # Every other resolution is dated before the first response, as in the data.
                f"2023-06-01 {8 + number % 2 * 8:02}:05:38" if closed else "",
                f"{1 + number % 5}.0" if closed else "",
            ]
        )
    return file.getvalue().encode()


def sample() -> Path:
    given = os.environ.get("SEALDESK_SAMPLE_CSV")
    path = Path(given) if given else ROOT.parent / "shared" / "data" / "customer_support_tickets.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here; set SEALDESK_SAMPLE_CSV to the public data set to test its map on it")
    return path


def types(parcels: list[Parcel]) -> Counter[str]:
    return Counter(draft.type.split(".", 1)[1] for parcel in parcels for draft in parcel.drafts)


def test_the_map_of_the_support_tickets_takes_rows_of_every_kind() -> None:
    parcels = list(rows(io.BytesIO(excerpt()), read_map(TICKETS), "shop"))

    assert [parcel.error for parcel in parcels] == [None] * 30
    assert types(parcels) == {
        "contact.created.v1": 30,
        "ticket.opened.v1": 30,
        "ticket.replied.v1": 20,
        "ticket.updated.v1": 20,
        "ticket.rated.v1": 10,
    }
    closed = parcels[1].drafts
    assert [draft.id for draft in closed] == ["2/0", "2/1", "2/2", "2/4", "2/5"]
    assert closed[3].data.model_dump(exclude_unset=True) == {
        "status": "closed",
        "custom_fields": {"resolution": "Case maybe show recently."},
    }


@pytest.mark.parametrize("source", ["excerpt", "the whole data set"])
def test_every_word_of_the_support_tickets_is_declared(source: str) -> None:
    mapping = read_map(TICKETS)
    declared = {name: frozenset(words) for name, words in mapping.vocabularies.items()}
    if source == "excerpt":
        parcels = list(rows(io.BytesIO(excerpt()), mapping, "shop"))
    else:
        with opened(str(sample())) as file:
            parcels = list(rows(file, mapping, "shop"))
        assert len(parcels) == 8469
        assert [parcel.error for parcel in parcels if parcel.error] == []
        assert types(parcels)["ticket.rated.v1"] == 2769

    undeclared = {
        (name, getattr(draft.data, name))
        for parcel in parcels
        for draft in parcel.drafts
        for name, mark in draft.plan.words
        if getattr(draft.data, name) is not None and word(mark.vocabulary, getattr(draft.data, name), declared) is None
    }

    assert undeclared == set()
