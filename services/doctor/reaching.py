"""How the database servers are reached: whether they answer and fit, as whom we come, TLS, the clock, and the WAL."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow, dict_row

from crypto.keystore import patient
from crypto.roles import Role, login_of
from services import rights, schema
from services.doctor import servers
from services.doctor.findings import Case, Finding, State, guarded
from services.schema import Schema
from services.watching.looking import CONNECT_SECONDS

#: A record that is further ahead of our clock is quarantined; half of it is time to look.
APART = timedelta(minutes=5)
SLIGHTLY = timedelta(seconds=5)


def findings(case: Case) -> Iterator[Finding]:
    """Look at each database by itself, and then at both together."""
    with ExitStack() as stack:
        connections: dict[str, Connection[DictRow]] = {}
        for which, dsn in ((schema.LOG, case.log_dsn), (schema.KEYS, case.keys_dsn)):
            if dsn is None:
                yield _stopped(which)
                continue
            try:
                connections[which.what] = stack.enter_context(_connected(dsn))
            except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
                yield Finding(which.called, State.WRONG, "it cannot be reached", _why(error, which))
                continue
            yield from _one(case, which, connections[which.what])
        if len(connections) == 2:
            yield from guarded("log and keys apart", lambda: _apart(connections["log"], connections["keys"]))


@contextmanager
def _connected(dsn: str) -> Iterator[Connection[DictRow]]:
    """Connect for a look: nothing can be written, and nothing is waited for."""
    with psycopg.connect(
        patient(dsn), autocommit=True, row_factory=dict_row, connect_timeout=CONNECT_SECONDS
    ) as connection:
        connection.execute("SET default_transaction_read_only = on")
        yield connection


def _stopped(which: Schema) -> Finding:
    return Finding(
        which.called,
        State.UNKNOWN,
        "its server does not run",
        "a command of sealdesk starts it; run this beside 'sealdesk up' to have it looked at",
    )


def _why(error: psycopg.Error, which: Schema) -> str:
    """Say what to look at. What the server says may quote the DSN, so it is only compared, as far as it is English."""
    variable, said = f"SEALDESK_{which.what.upper()}_DSN", str(error)
    if any(words in said for words in ("authentication failed", "no pg_hba.conf entry", "role ", "password")):
        return f"it refuses this login: check {variable}, SEALDESK_{which.what.upper()}_PASSWORD_FILE and pg_hba.conf"
    if "database " in said and "does not exist" in said:
        return f"it has no such database: check dbname in {variable}"
    return f"check {variable}, and that the server runs and lets this machine in"


def _one(case: Case, which: Schema, connection: Connection[DictRow]) -> Iterator[Finding]:
    name = which.what
    yield from guarded(f"{name}: version of the tables", lambda: _tables(case, which, connection))
    yield from guarded(f"{name}: login", lambda: _login(case, which, connection))
    yield from guarded(f"{name}: rights", lambda: _rights(case, which, connection))
    yield from guarded(f"{name}: way there", lambda: _encryption(name, connection))
    yield from guarded(f"{name}: settings", lambda: servers.findings(name, connection))


def _tables(case: Case, which: Schema, connection: Connection[DictRow]) -> Iterator[Finding]:
    check = f"{which.what}: version of the tables"
    # The names of rows are of no use there, and the type of a connection says which it gives.
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        found = schema.standing_of(cursor, which)
    schema.refuse_newer(found, which)
    if found.missing:
        if case.ours:
            yield Finding(
                check, State.WARNING, f"{len(found.missing)} files are to be applied", "the next start does it"
            )
        else:
            yield Finding(check, State.WRONG, f"{len(found.missing)} files are to be applied", "run: sealdesk migrate")
    for name in found.changed:
        yield Finding(check, State.WRONG, f"{name} reads otherwise than when it was applied", "install sealdesk anew")
    if not found.missing and not found.changed:
        yield Finding(check, State.OK, found.applied[-1])


def _login(case: Case, which: Schema, connection: Connection[DictRow]) -> Iterator[Finding]:
    name = which.what
    before = datetime.now(UTC)
    [row] = connection.execute(servers.STATEMENTS.who_we_are.sql).fetchall()
    version = f"{row['version'] // 10_000}.{row['version'] % 10_000}"
    if row["version"] < servers.OLDEST:
        yield Finding(
            f"{name}: server", State.WARNING, f"PostgreSQL {version}", "take 15 or newer: older ones were not tried"
        )
    else:
        yield Finding(f"{name}: server", State.OK, f"PostgreSQL {version}")
    if row["standby"]:
        yield Finding(
            f"{name}: server",
            State.WRONG,
            "it is a standby",
            "name the primary: keys and appends are read from it alone",
        )
    if row["superuser"] and not case.ours:
        yield Finding(
            f"{name}: login",
            State.WARNING,
            "it is a superuser, and may do what no process needs",
            "give each process a login with one role: sealdesk rights grant --help",
        )
    elif not case.ours:
        yield Finding(f"{name}: login", State.OK, "no superuser")
    yield _clock(name, row["clock"], before, datetime.now(UTC))


def _rights(case: Case, which: Schema, connection: Connection[DictRow]) -> Iterator[Finding]:
    """See that the roles may do what this program says, and that this login may take one."""
    check = f"{which.what}: rights"
    [row] = connection.execute(servers.STATEMENTS.rights_of.sql).fetchall()
    stands, login = row["rights"] == rights.FINGERPRINT, login_of(connection)
    if login.roles.isdisjoint(rights.ENTER[which.what]):
        yield Finding(check, State.WRONG, "this login has no role of sealdesk", "see: sealdesk rights grant --help")
    elif not stands:
        todo = "the next start does it" if case.ours else "run: sealdesk migrate"
        yield Finding(check, State.WARNING, "they are not those of this version", todo)
    else:
        held = ", ".join(role.short for role in Role if role in login.roles)
        yield Finding(check, State.OK, f"this login may be {held}")


def _clock(name: str, theirs: datetime, before: datetime, after: datetime) -> Finding:
    off = max(before - theirs, theirs - after, timedelta(0))
    says = f"{off.total_seconds():.0f} s from this machine's"
    if off > APART:
        return Finding(
            f"{name}: clock",
            State.WRONG,
            says,
            "set both by NTP: records are refused, and certificates have wrong times",
        )
    if off > SLIGHTLY:
        return Finding(f"{name}: clock", State.WARNING, says, "set both by NTP")
    return Finding(f"{name}: clock", State.OK, says)


def _encryption(name: str, connection: Connection[DictRow]) -> Iterator[Finding]:
    """See that nobody on the way reads along, where there is a way."""
    host = connection.info.hostaddr or connection.info.host
    if is_here(host):
        yield Finding(f"{name}: way there", State.OK, "it is on this machine")
        return
    [row] = connection.execute(servers.STATEMENTS.is_encrypted.sql).fetchall()
    if row["encrypted"]:
        yield Finding(f"{name}: way there", State.OK, "TLS")
    else:
        variable = f"SEALDESK_{name.upper()}_DSN"
        yield Finding(
            f"{name}: way there", State.WARNING, "no TLS", f"add sslmode=verify-full and sslrootcert=... to {variable}"
        )


def is_here(host: str) -> bool:
    """Tell whether an address leads to this machine: a socket's folder, or loopback."""
    if host.startswith(("/", "@")) or not host:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _apart(log: Connection[DictRow], keys: Connection[DictRow]) -> Iterator[Finding]:
    """See that no WAL and no backup holds both."""
    one, other = (
        connection.execute(servers.STATEMENTS.identifier.sql).fetchall()[0]["identifier"] for connection in (log, keys)
    )
    if one == other:
        yield Finding(
            "log and keys apart",
            State.WRONG,
            "both are in one cluster, or one is a copy of the other's",
            "give the keys a cluster of their own: no WAL and no backup may hold both",
        )
    else:
        yield Finding("log and keys apart", State.OK, "two clusters")
