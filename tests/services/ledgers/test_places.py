"""What SEALDESK_LEDGER and SEALDESK_LEDGER_COPY may say, and that nothing else touches the topic of a ledger."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto.lines import Fences
from crypto.roots import FileRoots
from crypto.wrapping import Key
from domain.errors import LedgerBroken, LedgerUnavailable, SettingsWrong
from domain.ids import TenantId
from services.cli.entering import settings_of
from services.kafka.admission import admission_of
from services.ledgers.places import Bucket, Topic, ledger_at, ledger_topics
from services.settings import Settings

KAFKA = {"SEALDESK_KAFKA": "127.0.0.1:9092"}


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


def configured(folder: Path, **more: str) -> dict[str, str]:
    """Name servers of somebody else, and folders for the rest."""
    places = {f"SEALDESK_{name}": str(folder / name.lower()) for name in ("ROOTS", "LEDGER", "SIGNING")}
    return {"SEALDESK_LOG_DSN": "host=log", "SEALDESK_KEYS_DSN": "host=keys", **places, **more}


def test_by_default_the_ledger_is_in_two_folders_apart(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path / "data", {})
    house = (tmp_path / "data" / "id").read_text().strip()
    assert settings.ledger == tmp_path / "config" / "sealdesk" / house / "ledger"
    assert settings.ledger_copy == tmp_path / "state" / "sealdesk" / house / "ledger-copy"
    assert settings.ledger_copy.stat().st_mode & 0o777 == 0o700


def test_whoever_says_where_the_ledger_is_says_where_its_copy_is(tmp_path: Path) -> None:
    places = configured(tmp_path)
    assert Settings.read(None, places).ledger_copy is None
    assert Settings.read(tmp_path / "data", {"SEALDESK_LEDGER": places["SEALDESK_LEDGER"]}).ledger_copy is None
    copy = str(tmp_path / "copy")
    assert Settings.read(None, places | {"SEALDESK_LEDGER_COPY": copy}).ledger_copy == Path(copy)
    for data, environ in ((None, places), (tmp_path / "data", {})):
        assert Settings.read(data, environ | {"SEALDESK_LEDGER_COPY": "none"}).ledger_copy is None


def test_by_default_the_copy_is_another_folder_where_state_and_configuration_lie_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is so on macOS."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "config"))
    settings = Settings.read(tmp_path / "data", {})
    assert isinstance(settings.ledger, Path)
    assert isinstance(settings.ledger_copy, Path)
    assert settings.ledger_copy.parent == settings.ledger.parent
    assert settings.ledger_copy != settings.ledger


def test_an_account_without_a_place_for_the_copy_keeps_one_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("no folder")
    settings = Settings.read(tmp_path / "data", {})
    assert settings.ledger_copy is None
    assert settings.copyless is not None
    assert "cannot be made" in settings.copyless
    monkeypatch.setenv("SEALDESK_DATA", str(tmp_path / "data"))
    assert settings_of(None, makes=True).ledger_copy is None
    assert re.search("lies in one place: .*SEALDESK_LEDGER_COPY to another place, or to none", capsys.readouterr().err)


@pytest.mark.parametrize("state", ["data/state", "."])
def test_the_default_copy_is_held_to_what_a_named_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / state))
    house = tmp_path / "sealdesk" if state == "." else tmp_path / "roots"
    settings = Settings.read(tmp_path / "data", {"SEALDESK_ROOTS": str(house)})
    assert settings.ledger_copy is None
    assert settings.copyless is not None
    assert "lie in each other" in settings.copyless
    assert not list(tmp_path.rglob("ledger-copy"))


@pytest.mark.parametrize(
    ("which", "way_out"), [("SEALDESK_LEDGER", ""), ("SEALDESK_LEDGER_COPY", "set SEALDESK_LEDGER_COPY to .*none")]
)
def test_an_error_names_the_place_its_variable_and_what_to_do(tmp_path: Path, which: str, way_out: str) -> None:
    folders = {name: tmp_path / name for name in ("SEALDESK_LEDGER", "SEALDESK_LEDGER_COPY")}
    # What should be opened to lock it is a folder: this holds for root, too.
    (folders[which] / "ledger.lock").mkdir(parents=True, mode=0o700)
    (folders[which] / "ledger.jsonl").write_bytes(b"")
    folders[which].chmod(0o700)
    roots = FileRoots(tmp_path / "roots")
    places = folders["SEALDESK_LEDGER"], folders["SEALDESK_LEDGER_COPY"]
    ledger = ledger_at(*places, Ed25519PrivateKey.generate(), roots)
    for look in (ledger.head, lambda: list(ledger.read()), lambda: ledger.find(uuid4())):
        with pytest.raises(LedgerUnavailable, match=f"^{which}, the folder {folders[which]}: .*{way_out}") as error:
            look()
        assert bool(way_out) is ("none" in str(error.value))


def test_an_error_of_a_copy_that_is_another_ledger_says_whose_it_is_and_not_to_do_without(tmp_path: Path) -> None:
    roots = FileRoots(tmp_path / "roots")
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        ledger_at(folder, None, Ed25519PrivateKey.generate(), roots).append(
            tenant=TenantId(uuid4()),
            kind="subject",
            key=uuid4(),
            shred=uuid4(),
            at=datetime(2026, 11, 24, tzinfo=UTC),
            fences=Fences((), Key(bytes(32)), ()),
            issue_counter=1,
        )
    key = Ed25519PrivateKey.generate()
    with pytest.raises(LedgerBroken, match=r"^SEALDESK_LEDGER, the folder .*first: .*signature"):
        ledger_at(first, second, key, roots).head()
    with pytest.raises(
        LedgerBroken, match=r"^SEALDESK_LEDGER_COPY, the folder .*second: .*signature that does not fit$"
    ):
        ledger_at(tmp_path / "empty", second, key, roots).head()


def test_nothing_is_made_where_nothing_shall_be(tmp_path: Path) -> None:
    made = Settings.read(tmp_path / "data", {})
    assert isinstance(made.ledger_copy, Path)
    made.ledger_copy.rmdir()
    assert Settings.read(tmp_path / "data", {}, make=False).ledger_copy == made.ledger_copy
    assert not made.ledger_copy.exists()


@pytest.mark.parametrize("variable", ["SEALDESK_LEDGER", "SEALDESK_LEDGER_COPY"])
def test_either_place_may_be_a_topic_or_a_bucket(tmp_path: Path, variable: str) -> None:
    def read(place: str, **more: str) -> Any:
        settings = Settings.read(None, configured(tmp_path, **KAFKA, **{variable: place}, **more))
        return settings.ledger if variable == "SEALDESK_LEDGER" else settings.ledger_copy

    topic = read("kafka://house.ledger")
    assert isinstance(topic, Topic)
    assert (topic.name, topic.broker.bootstrap) == ("house.ledger", "127.0.0.1:9092")
    assert read("s3://keep/a/b") == Bucket("keep", "a/b", None, 2)
    other = read("s3://keep?endpoint=http://127.0.0.1:9000", SEALDESK_LEDGER_YEARS="5")
    assert other == Bucket("keep", "", "http://127.0.0.1:9000", 5)


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"SEALDESK_LEDGER": "kafka://ledger", "SEALDESK_KAFKA": ""}, "SEALDESK_KAFKA"),
        ({"SEALDESK_LEDGER": "kafka://"}, "kafka://TOPIC"),
        ({"SEALDESK_LEDGER": "kafka://one/two"}, "kafka://TOPIC"),
        ({"SEALDESK_LEDGER": "kafka://sealdesk.records"}, "a topic of its own"),
        ({"SEALDESK_LEDGER": "kafka://sealdesk.privacy"}, "a topic of its own"),
        ({"SEALDESK_LEDGER_COPY": "s3://"}, "s3://BUCKET/PREFIX"),
        ({"SEALDESK_LEDGER_COPY": "s3://keep?region=x"}, "s3://BUCKET/PREFIX"),
        ({"SEALDESK_LEDGER_COPY": "s3://user:password@keep"}, "s3://BUCKET/PREFIX"),
        ({"SEALDESK_LEDGER_COPY": "s3://keep", "SEALDESK_LEDGER_YEARS": "1"}, "longer than SEALDESK_FENCE_DAYS"),
        ({"SEALDESK_LEDGER_COPY": "s3://keep", "SEALDESK_FENCE_DAYS": "730"}, "longer than SEALDESK_FENCE_DAYS"),
        ({"SEALDESK_LEDGER": "kafka://l", "SEALDESK_LEDGER_COPY": "kafka://l"}, "one place"),
        ({"SEALDESK_LEDGER": "s3://keep/l", "SEALDESK_LEDGER_COPY": "s3://keep/l/"}, "one place"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, said: dict[str, str], match: str) -> None:
    with pytest.raises(SettingsWrong, match=match):
        Settings.read(None, configured(tmp_path, **{**KAFKA, **said}))


def test_no_records_are_read_from_the_topic_of_a_ledger(tmp_path: Path) -> None:
    environ = {"SEALDESK_LEDGER": "kafka://one", "SEALDESK_LEDGER_COPY": "kafka://two"}
    assert ledger_topics(environ) == {"one", "two"}
    for asked in (["one"], ["acme.records", "two"]):
        with pytest.raises(SettingsWrong, match="is the ledger"):
            admission_of(environ).to_read(asked)
    assert admission_of(environ).to_read(["acme.records"]) == ("acme.records",)
    listed = tmp_path / "topics.toml"
    listed.write_text('[topics."two"]\ntenants = "*"\n')
    with pytest.raises(SettingsWrong, match="two is the ledger"):
        admission_of(environ | {"SEALDESK_TOPICS": str(listed)})
    assert admission_of({"SEALDESK_TOPICS": str(listed)}).to_read() == ("two",)
