"""Who may do what in the two databases: the declaration, and how it comes about.

Rule: whatever is not declared here is for the owner of the tables alone. Rights are granted whole: first everything is
taken from everybody, then what stands below is given. So a table that a migration adds is out of reach until it is
declared, and a test asks for it.

A right on columns says which ones may be written. PostgreSQL lets nobody lock a row (FOR SHARE, FOR UPDATE) who may not
update a column of it, so a role that has to lock rows may update a column whose change harms nothing. Where a right
cannot say it (a counter goes only up, a reference that the log tells is not overwritten) the triggers of migration 0004
do, for everybody but the keeper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib.resources import files
from typing import Any

import aiosql
import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier, Literal

from crypto.roles import Role
from domain.errors import SettingsWrong

STATEMENTS: Any = aiosql.from_str(
    (files("services") / "sql/rights.sql").read_text(), "psycopg", mandatory_parameters=False
)

Rights = Mapping[str, Mapping[Role, str]]
INTAKE, PROJECTOR, READER, KEEPER = Role.INTAKE, Role.PROJECTOR, Role.READER, Role.KEEPER

_ALL = "SELECT, INSERT, UPDATE, DELETE"
#: A fact comes without a position and without a time of recording: the database gives both.
_FACT = (
    "SELECT, INSERT (originator_id, originator_version, topic, state, tenant, event_id, record_digest, ordinal, "
    "occurred_at, owners, kept, seal)"
)
#: A key is issued living: with no line, no mark and no loss.
_WRAPPING_KEY = "SELECT, INSERT (key_id, tenant, kind, period, epoch, wrapped), UPDATE (children)"
_LEAF = "SELECT, INSERT (thing_id, key_id, tenant, owner, co_owners, blob, bound, wrapped)"

LOG: Rights = {
    "facts_events": {INTAKE: _FACT, PROJECTOR: "SELECT", READER: "SELECT", KEEPER: _FACT},
    "privacy_events": {
        READER: "SELECT",
        KEEPER: "SELECT, INSERT (originator_id, originator_version, topic, state)",
    },
    "positions": {
        INTAKE: "SELECT, INSERT, UPDATE (next_offset, leader_epoch)",
        READER: "SELECT",
        KEEPER: _ALL,
    },
    "issue_seen": {INTAKE: "SELECT, UPDATE (issue)", READER: "SELECT", KEEPER: "SELECT, UPDATE"},
    "accepted_losses": {INTAKE: "SELECT", READER: "SELECT", KEEPER: "SELECT, INSERT"},
    "tenants": {INTAKE: "SELECT, INSERT (tenant_id, name)", READER: "SELECT", KEEPER: _ALL},
    "vocabulary": {INTAKE: "SELECT, INSERT", READER: "SELECT", KEEPER: _ALL},
    # Intake puts records there, and takes up those that wait; a trigger keeps the others from it.
    "quarantine": {
        INTAKE: "SELECT, INSERT, UPDATE (code, path, waits_for), DELETE",
        READER: "SELECT (quarantine_id, tenant, key_id, code, path, waits_for, at, arrived, topic, partition, "
        "record_offset)",
        KEEPER: _ALL,
    },
    "quarantine_left": {INTAKE: "INSERT", KEEPER: "SELECT, INSERT, DELETE"},
    "refusals": {INTAKE: "SELECT, INSERT, UPDATE (refused)", READER: "SELECT", KEEPER: _ALL},
    "access_lines": {READER: "INSERT", KEEPER: "SELECT, INSERT"},
    "blobs": {READER: "SELECT", KEEPER: _ALL},
    "log_migrations": dict.fromkeys(Role, "SELECT"),
    "log_migrations_log": {},
    "log_migrations_version": {},
    "facts_events_notification_id_seq": {INTAKE: "USAGE", KEEPER: "USAGE"},
    "privacy_events_notification_id_seq": {KEEPER: "USAGE"},
    "quarantine_arrived_seq": {INTAKE: "USAGE", KEEPER: "USAGE"},
}

KEYS: Rights = {
    "wrapping_keys": {INTAKE: _WRAPPING_KEY, READER: _WRAPPING_KEY, KEEPER: _ALL},
    "subjects": {
        INTAKE: "SELECT, INSERT (subject_id, tenant, profile, parent, agent, upstream, bound, wrapped), "
        "UPDATE (agent, upstream)",
        READER: "SELECT",
        KEEPER: _ALL,
    },
    "things": {
        INTAKE: "SELECT, INSERT (thing_id, tenant, kind, owner, parent), UPDATE (owner, parent)",
        READER: "SELECT",
        KEEPER: _ALL,
    },
    # Who looks at what is sealed under a leaf of the desk, so a reader may add one.
    "leaves": {INTAKE: _LEAF, READER: _LEAF, KEEPER: _ALL},
    "register": {INTAKE: "SELECT, INSERT, UPDATE (page, sealed, told)", READER: "SELECT", KEEPER: _ALL},
    "register_backs": {INTAKE: "INSERT", READER: "SELECT", KEEPER: _ALL},
    "fences": {INTAKE: "SELECT, INSERT, UPDATE (day)", READER: "SELECT", KEEPER: _ALL},
    "shreds": {INTAKE: "SELECT (shred_id, step, ground, line)", READER: "SELECT", KEEPER: _ALL},
    "closings": {INTAKE: "SELECT", READER: "SELECT", KEEPER: _ALL},
    "source_marks": {READER: "SELECT", KEEPER: _ALL},
    "recipients": {READER: "SELECT", KEEPER: _ALL},
    "outbox": {READER: "SELECT", KEEPER: _ALL},
    "outbox_pages": {KEEPER: _ALL},
    "tellings": {READER: "SELECT", KEEPER: _ALL},
    "outbox_follows": {KEEPER: "SELECT, UPDATE"},
    "reply_positions": {KEEPER: _ALL},
    "epochs": {READER: "SELECT", KEEPER: _ALL},
    "key_backups": {READER: "SELECT", KEEPER: _ALL},
    # Only who does key work says how far it is done: what is passed over is never done.
    "kept": {INTAKE: "SELECT", READER: "SELECT", KEEPER: "SELECT, UPDATE"},
    "pairs": {INTAKE: "SELECT", READER: "SELECT", KEEPER: _ALL},
    "issued": {INTAKE: "SELECT, UPDATE (issue)", READER: "SELECT", KEEPER: "SELECT, UPDATE"},
    "keys_migrations": {INTAKE: "SELECT", READER: "SELECT", KEEPER: "SELECT"},
    "keys_migrations_log": {},
    "keys_migrations_version": {},
    "news_number": {KEEPER: "USAGE"},
    "source_marks_mark_seq": {KEEPER: "USAGE"},
}
DECLARED: Rights = {**LOG, **KEYS}

#: What the keeper may be as well, one at a time. It is no projector: whoever owns tables decides what runs in a session
#: that writes them.
KEEPERS_TOO = (INTAKE, READER)

#: Who may be in which database at all. The projector is not even let into that of the keys.
ENTER = {"log": tuple(Role), "keys": (INTAKE, READER, KEEPER)}

#: By this a start sees, with one query, that the rights are those of this program.
FINGERPRINT = (
    "sealdesk rights "
    + sha256(repr((DECLARED, ENTER, (files("services") / "sql/rights.sql").read_text())).encode()).hexdigest()[:16]
)

#: PostgreSQL cuts a longer name off, and would take another role for it.
NAME_BYTES = 63


def stand(connection: Connection[Any], which: str) -> bool:
    """Tell whether a database (`log` or `keys`) has the rights of this program. One query, as any login."""
    return _asked(connection, which)[0]


def see_to(connection: Connection[Any], which: str) -> None:
    """Grant what is missing, as the owner; of a copy, only what a copy lacks. Almost always there is nothing to do.

    Raises:
        SettingsWrong: this login may not make roles, or does not own the tables.
    """
    stands, is_copy = _asked(connection, which)
    if stands:
        return
    if is_copy:
        with _explained(), connection.transaction():
            connection.execute(STATEMENTS.lock.sql)
            _make_roles(connection, which)
            _let_in(connection, which)
        return
    _grant(connection, which)


def grant_log(connection: Connection[Any]) -> None:
    """Give every role its rights in the log database, and no more. `connection` is the owner's, in autocommit mode.

    Raises:
        SettingsWrong: this login may not make roles, or does not own the tables.
    """
    _grant(connection, "log")


def grant_keys(connection: Connection[Any]) -> None:
    """Give every role its rights in the key database, and no more. `connection` is the owner's, in autocommit mode.

    Raises:
        SettingsWrong: this login may not make roles, or does not own the tables.
    """
    _grant(connection, "keys")


def let(connection: Connection[Any], which: str, login: str, role: Role, *, dry_run: bool) -> str | None:
    """Let a login take a role in one cluster. Returns the statement; None if the role is not let into this database.

    Raises:
        SettingsWrong: there is no such login, or this user may not grant.
    """
    if role not in ENTER[which]:
        return None
    if not login or "\0" in login or len(login.encode()) > NAME_BYTES:
        raise SettingsWrong(f"The name of a database role has 1 to {NAME_BYTES} bytes.")
    if connection.execute(STATEMENTS.login.sql, {"login": login}).fetchone() is None:
        raise SettingsWrong(f"The {which} database has no login of that name. Make it first: CREATE ROLE ... LOGIN.")
    statement = SQL("GRANT {} TO {}").format(Identifier(role), Identifier(login))
    if not dry_run:
        with _explained():
            connection.execute(statement)
    return f"{statement.as_string(connection)};"


def folds_apart(connection: Connection[Any]) -> bool:
    """Tell whether a login of its own may be the projector: then nobody who may be more folds (services/projecting)."""
    row = connection.execute(STATEMENTS.folds_apart.sql).fetchone()
    return bool(row and row[0])


def who(connection: Connection[Any]) -> list[tuple[str, str]]:
    """List which logins may take which roles, as (login, role). Superusers may take all, and are left out."""
    return [(row[0], row[1]) for row in connection.execute(STATEMENTS.who.sql, {"roles": [*Role]}).fetchall()]


def _asked(connection: Connection[Any], which: str) -> tuple[bool, bool]:
    """Ask whether the rights stand, and whether those on tables do, as in a copy that was made with TEMPLATE."""
    row = connection.execute(STATEMENTS.stand.sql, {"keys": which == "keys", "fingerprint": FINGERPRINT}).fetchone()
    stands, is_copy = row or (False, False)
    return bool(stands), bool(is_copy)


def _grant(connection: Connection[Any], which: str) -> None:
    with _explained(), connection.transaction():
        connection.execute(STATEMENTS.lock.sql)
        _make_roles(connection, which)
        _let_in(connection, which)
        roles = SQL(", ").join(map(Identifier, ENTER[which]))
        connection.execute(SQL(STATEMENTS.take_all.sql).format(roles=roles))
        for statement in granted(_present(connection)):
            connection.execute(statement)
        connection.execute(SQL(STATEMENTS.close_functions.sql).format(roles=roles))
        if which == "log":
            connection.execute(STATEMENTS.own_models.sql)
        connection.execute(SQL("COMMENT ON SCHEMA public IS {}").format(Literal(FINGERPRINT)))


def granted(present: Mapping[str, str]) -> list[Composed]:
    """Write the statements that give what is declared, for the tables and sequences that are there, by kind."""
    return [
        SQL("GRANT {} ON {} {} TO {}").format(
            SQL(rights), SQL("SEQUENCE" if present[name] == "S" else "TABLE"), Identifier(name), Identifier(role)
        )
        for name, given in DECLARED.items()
        if name in present
        for role, rights in given.items()
    ]


def _present(connection: Connection[Any]) -> dict[str, str]:
    return dict(connection.execute(STATEMENTS.present.sql).fetchall())


def _make_roles(connection: Connection[Any], which: str) -> None:
    for role in ENTER[which]:
        connection.execute(SQL(STATEMENTS.make_role.sql).format(role=Identifier(role), name=Literal(role)))
    for role in ENTER[which]:
        if role in KEEPERS_TOO:
            connection.execute(SQL(STATEMENTS.join.sql).format(role=Literal(role), member=Literal(KEEPER)))
        connection.execute(SQL(STATEMENTS.join_owner.sql).format(role=Literal(role)))


def _let_in(connection: Connection[Any], which: str) -> None:
    database = Identifier(connection.info.dbname)
    connection.execute(SQL("REVOKE CREATE, TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))
    if which == "keys":
        connection.execute(SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(database))
    else:
        connection.execute(SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, Identifier(PROJECTOR)))
    for role in ENTER[which]:
        connection.execute(SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, Identifier(role)))


@contextmanager
def _explained() -> Iterator[None]:
    """Say what to do where the owner lacks a right."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege:
        raise SettingsWrong(
            "This login may not give the database roles their rights. It has to own the database and its tables, and "
            "to have CREATEROLE: run sealdesk migrate with such a login, once after each new version."
        ) from None
