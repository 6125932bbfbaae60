"""The key database: whatever keeps it from working now is said to be away, and nothing of it looks like a lost key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.conninfo import conninfo_to_dict

from crypto.keystore import Disturbed, KeyStore, patient
from domain.errors import KeysUnavailable, NobodyCanAct, SealdeskError
from services.embedded import Endpoints


@pytest.fixture
def keys(databases: Endpoints) -> Iterator[KeyStore]:
    store = KeyStore(databases.keys_dsn)
    yield store
    store.close()


@pytest.mark.parametrize(
    ("state", "raised"),
    [("25006", KeysUnavailable), ("25P03", KeysUnavailable), ("40P01", Disturbed), ("22003", NobodyCanAct)],
    ids=["a standby", "a transaction that waited for too long", "a deadlock", "a bug"],
)
def test_what_a_server_raises_is_told_by_who_can_act(keys: KeyStore, state: str, raised: type[SealdeskError]) -> None:
    with pytest.raises(raised), keys.transaction() as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$".encode())
    with keys.transaction() as cursor:
        assert cursor.execute("SELECT 1 AS one").fetchone() == {"one": 1}


def test_a_transaction_that_may_only_read_is_away_until_it_may_write(keys: KeyStore) -> None:
    def delete(*, read_only: bool) -> None:
        with keys.transaction() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY" if read_only else "SET TRANSACTION READ WRITE")
            cursor.execute("DELETE FROM shreds")

    with pytest.raises(KeysUnavailable):
        delete(read_only=True)
    delete(read_only=False)


def test_a_server_that_a_network_has_swallowed_is_given_up_in_time_unless_the_dsn_says_otherwise(
    keys: KeyStore,
) -> None:
    with keys.transaction() as cursor:
        said = cursor.connection.info.get_parameters()
    assert (said["tcp_user_timeout"], said["connect_timeout"]) == ("30000", "5")
    chosen = conninfo_to_dict(patient("postgresql://acme@db.example/keys?connect_timeout=60"))
    assert (chosen["connect_timeout"], chosen["tcp_user_timeout"], chosen["host"]) == ("60", "30000", "db.example")
