"""Which copies still open, when a copy is due, and which certificates say that nobody can undo a shred."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from crypto.keystore import KeyStore
from crypto.roots import FileRoots
from crypto.turning import Turning
from domain.errors import SettingsWrong
from services import epochs
from services.embedded import Endpoints
from tests.rings import Ring

AT = datetime(2026, 5, 17, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Delayed(FileRoots):
    """Roots whose destruction takes effect a week later, as that of a key in KMS does."""

    def destroy(self, epoch: int, *, last: bool = False) -> datetime:
        super().destroy(epoch, last=last)
        return AT + timedelta(days=7, microseconds=1)


class House:
    """A key store, its epochs, and a clock that is set by hand."""

    def __init__(self, keys: KeyStore, folder: Path) -> None:
        self.ring = Ring(keys, Delayed(folder))
        self.at = AT
        self.turning = Turning(keys, self.ring.roots, lambda: self.at)
        self.issued: list[tuple[UUID, datetime]] = []

    def status(self) -> epochs.Status:
        return epochs.status(self.ring.keys, self.ring.roots, at=self.at, backup_hours=25)

    def turn(self) -> None:
        self.turning.turn()
        self.turning.destroy_older(grace=timedelta(0))

    def shred(self, number: int, epoch: int | None, *, step: str = "finished", certified: bool = True) -> UUID:
        shred = UUID(int=number)
        certificate = Jsonb({"unrecoverable_since": None}) if certified else None
        self.ring.sql(
            "INSERT INTO shreds (shred_id, tenant, kind, target, targets, profile, ground, step, begun_at, line, epoch,"
            " certificate) VALUES (%s, %s, 'subject', %s, '{}', %s, 'test', %s, %s, %s, %s, %s)",
            *(shred, shred, shred, shred, step, AT, number, epoch, certificate),
        )
        return shred

    def recertify(self, shred: UUID, **changes: Any) -> None:
        """Issue a certificate anew, as far as it matters here."""
        since = changes["unrecoverable_since"]
        self.issued.append((shred, since))
        self.ring.sql(
            "UPDATE shreds SET certificate = certificate || %s WHERE shred_id = %s",
            Jsonb({"unrecoverable_since": since.isoformat()}),
            shred,
        )

    def certify(self) -> int:
        return epochs.certify_destroyed(self.ring.keys, self.recertify, at=self.at)


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    keys = KeyStore(databases.keys_dsn)
    yield House(keys, tmp_path / "roots")
    keys.close()


def test_before_the_first_turn_every_copy_opens_and_a_copy_is_due(house: House) -> None:
    house.ring.subjects(3)
    found = house.status()
    assert (found.opens_something_since, found.opens_all_since, found.backup) == (None, None, None)
    assert found.is_backup_late
    assert [row["epoch"] for row in found.epochs] == [1]
    assert found.epochs[0]["keys"] == sum(row["keys"] for row in found.keys) == 2
    assert (found.living, found.shredded, found.is_unfinished) == (3, 0, False)


def test_a_copy_opens_until_the_root_of_its_time_is_gone_for_good(house: House) -> None:
    [person, *_] = house.ring.subjects(3)
    house.ring.shred(person)
    epochs.note_backup(house.ring.keys, made_at=AT - HOUR, at=AT)
    assert house.status().backup == AT - HOUR
    assert not house.status().is_backup_late

    house.at = AT + HOUR
    house.turn()
    found = house.status()
    assert (found.opens_all_since, found.living, found.shredded) == (None, 2, 1)
    assert [(row["epoch"], row["destroyed_at"]) for row in found.epochs] == [(1, house.at), (2, None)]
    assert found.backup == AT - HOUR, "the destruction has no effect yet: somebody could bring the root back"

    house.at = AT + timedelta(days=8)
    found = house.status()
    assert (found.opens_something_since, found.opens_all_since) == (AT + HOUR, AT + HOUR)
    assert found.backup is None
    assert found.is_backup_late
    epochs.note_backup(house.ring.keys, made_at=house.at, at=house.at)
    assert not house.status().is_backup_late
    house.at += 26 * HOUR
    assert house.status().is_backup_late


def test_a_turn_that_was_begun_is_said_to_be_unfinished(house: House) -> None:
    house.ring.subjects(1)
    house.ring.roots.turn(1)
    assert house.status().is_unfinished
    house.turning.turn()
    assert not house.status().is_unfinished


def test_a_copy_of_the_future_is_refused(house: House) -> None:
    with pytest.raises(SettingsWrong):
        epochs.note_backup(house.ring.keys, made_at=AT + HOUR, at=AT)


def test_a_certificate_says_since_when_nobody_can_undo_it_and_not_before(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "PAGE", 1)
    house.ring.subjects(1)
    first, second = house.shred(1, 1), house.shred(2, 1)
    house.shred(3, 2)
    house.shred(4, None)
    house.shred(5, 1, step="told", certified=False)
    assert house.certify() == 0

    house.turn()
    assert house.certify() == 0, "the destruction has no effect yet"
    assert house.status().recoverable == 4

    house.at = AT + timedelta(days=8)
    effective = AT + timedelta(days=7, seconds=1)
    assert house.certify() == 2
    assert house.issued == [(first, effective), (second, effective)]
    assert house.certify() == 0
    assert house.status().recoverable == 2


def test_a_root_that_lives_between_two_that_are_destroyed_keeps_a_shred_recoverable(house: House) -> None:
    house.ring.subjects(1)
    house.shred(1, 2)
    house.turning.turn()
    house.turning.turn()
    house.turning.destroy_older(grace=timedelta(0))
    house.ring.sql("UPDATE epochs SET destroyed_at = NULL, effective_at = NULL WHERE epoch = 1")
    house.at = AT + timedelta(days=8)
    assert house.certify() == 0
