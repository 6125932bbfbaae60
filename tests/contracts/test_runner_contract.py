"""What `services.migrating` relies on in yoyo-migrations, member by member: some of it is semi-private."""

from __future__ import annotations

import inspect
from pathlib import Path

import psycopg
import pytest
from yoyo.backends.base import DatabaseBackend
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri
from yoyo.migrations import Migration, read_migrations

from services.embedded import Endpoints


def test_the_backend_connects_through_a_method_that_can_be_overridden() -> None:
    assert list(inspect.signature(PostgresqlPsycopgBackend.__init__).parameters) == ["self", "dburi", "migration_table"]
    assert list(inspect.signature(PostgresqlPsycopgBackend.connect).parameters) == ["self", "dburi"]
    assert "self.connect(dburi)" in inspect.getsource(DatabaseBackend.__init__)
    assert parse_uri("postgresql+psycopg://").hostname is None


def test_the_lock_is_taken_through_a_method_that_can_be_overridden() -> None:
    assert list(inspect.signature(DatabaseBackend.lock).parameters) == ["self", "timeout"]
    # The row that a kill leaves behind is written nowhere else.
    assert "_insert_lock_row" in inspect.getsource(DatabaseBackend.lock)
    assert inspect.getsource(DatabaseBackend).count("_insert_lock_row(") == 2


def test_a_file_and_its_mark_are_two_transactions_of_which_we_make_one() -> None:
    source = inspect.getsource(DatabaseBackend.apply_one)
    assert "self.copy()" in source
    assert list(inspect.signature(DatabaseBackend.apply_one).parameters) == ["self", "migration", "force", "mark"]
    assert list(inspect.signature(DatabaseBackend.mark_one).parameters) == ["self", "migration", "log"]
    assert list(inspect.signature(Migration.process_steps).parameters) == ["self", "backend", "direction", "force"]


def test_a_transaction_within_one_is_a_savepoint_and_an_error_takes_back_both(databases: Endpoints) -> None:
    class Ours(PostgresqlPsycopgBackend):  # type: ignore[misc]
        def connect(self, dburi: object) -> object:
            return psycopg.connect(databases.log_dsn, autocommit=True)

    with Ours(parse_uri("postgresql+psycopg://"), "anything") as backend:

        def both() -> None:
            with backend.transaction():
                backend.execute("CREATE TABLE outer_one (one integer)")
                with backend.transaction():
                    backend.execute("INSERT INTO nowhere VALUES (1)")

        with pytest.raises(psycopg.errors.UndefinedTable):
            both()
        assert backend.execute("SELECT to_regclass('outer_one')").fetchone() == (None,)


def test_files_come_by_name_and_are_split_where_a_statement_ends(tmp_path: Path) -> None:
    (tmp_path / "0002.b.sql").write_text("SELECT 2")
    (tmp_path / "0001.a.sql").write_text(
        "-- A note; with a semicolon.\nSELECT ';';\n"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$\n"
        "BEGIN IF true THEN NULL; END IF; RETURN NEW; END $$;\n"
        "DO $body$ BEGIN PERFORM 1; END $body$;\nCOMMENT ON TABLE t IS 'It''s one; or two.';"
    )
    first, second = read_migrations(str(tmp_path))
    assert (first.id, second.id) == ("0001.a", "0002.b")
    first.load()
    assert first.use_transactions
    assert len(first.steps) == 4


def test_names_of_accounts_and_machines_are_noted_by_one_method_alone() -> None:
    source = inspect.getsource(DatabaseBackend)
    assert source.count("getpass.getuser()") == source.count("socket.getfqdn()") == 1
    assert "getpass" in inspect.getsource(DatabaseBackend.get_log_data)
    assert "if log:" in inspect.getsource(DatabaseBackend.mark_one)
