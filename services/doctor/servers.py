"""How the two database servers are set: what survives a crash, what their logs would quote, what waits how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any

import aiosql
from psycopg import Connection
from psycopg.rows import DictRow

from services.doctor.findings import Finding, State

STATEMENTS: Any = aiosql.from_str(
    (files("services") / "sql/doctor.sql").read_text(), "psycopg", mandatory_parameters=False
)
#: The oldest PostgreSQL that sealdesk was tried on, as the server counts: 15.
OLDEST = 150_000
_LOST = "what was acknowledged can be lost: then a person who was shredded may read as stored"
#: Below this a rebuild, a turn or a check of everything is cut (milliseconds).
_SHORT_MILLISECONDS = 60_000
#: Words of log_min_messages and log_min_error_statement that leave out errors, whose first line quotes a value.
_WITHOUT_ERRORS = ("log", "fatal", "panic")

_Judge = Callable[[str], tuple[State, str] | None]


def _has_to_be(wanted: str, state: State, todo: str) -> _Judge:
    return lambda found: None if found == wanted else (state, todo)


def _one_of(wanted: tuple[str, ...], todo: str) -> _Judge:
    return lambda found: None if found in wanted else (State.WARNING, todo)


def _synchronous(found: str) -> tuple[State, str] | None:
    if found == "off":
        return State.WRONG, f"set it to on: {_LOST}"
    return (
        None if found in ("on", "remote_apply") else (State.WARNING, "set it to on, so that a failover loses nothing")
    )


def _limit(found: str) -> tuple[State, str] | None:
    short = 0 < int(found) < _SHORT_MILLISECONDS
    return (
        (State.WARNING, "a turn, a rebuild or a check takes longer: give it at least a minute, or 0") if short else None
    )


def _hung(found: str) -> tuple[State, str] | None:
    if int(found):
        return None
    return State.WARNING, "set it, to 10min for example: a client that hung would hold its keys and locks for ever"


_QUOTES = (
    "an error quotes what a statement was given: of people only digests, ciphertexts and inside ids, but keep them out"
)
#: What each setting should be; the first of each pair names the check.
JUDGES: Mapping[str, tuple[str, _Judge]] = {
    "fsync": ("durability", _has_to_be("on", State.WRONG, f"set it to on: {_LOST}")),
    "full_page_writes": ("durability", _has_to_be("on", State.WRONG, f"set it to on: {_LOST}")),
    "synchronous_commit": ("durability", _synchronous),
    "data_checksums": ("durability", _has_to_be("on", State.WARNING, "turn them on: pg_checksums --enable")),
    "log_min_messages": ("what it logs", _one_of(_WITHOUT_ERRORS, f"set it to log: {_QUOTES}")),
    "log_min_error_statement": ("what it logs", _one_of(_WITHOUT_ERRORS, f"set it to panic: {_QUOTES}")),
    "log_statement": ("what it logs", _has_to_be("none", State.WARNING, "set it to none")),
    "log_parameter_max_length": ("what it logs", _has_to_be("0", State.WARNING, "set it to 0: it logs parameters")),
    "log_parameter_max_length_on_error": ("what it logs", _has_to_be("0", State.WARNING, f"set it to 0: {_QUOTES}")),
    "log_min_duration_statement": ("what it logs", _has_to_be("-1", State.WARNING, "set it to -1: it logs statements")),
    "log_min_duration_sample": ("what it logs", _has_to_be("-1", State.WARNING, "set it to -1: it logs statements")),
    "log_transaction_sample_rate": ("what it logs", _has_to_be("0", State.WARNING, "set it to 0: it logs statements")),
    "idle_in_transaction_session_timeout": ("time limits", _hung),
    "statement_timeout": ("time limits", _limit),
    "lock_timeout": ("time limits", _limit),
}
_LIBRARIES = ("shared_preload_libraries", "session_preload_libraries", "local_preload_libraries")
_NAMES = [*JUDGES, *_LIBRARIES, "archive_mode"]
#: What is worth a second look at a server that others run.
_WATCHERS = {
    "auto_explain": "it logs plans with values in them: take it out, or see that auto_explain.log_min_duration is -1",
    "pg_stat_statements": "it keeps the text of statements, without what they were given: know that it does",
    "pgaudit": "it logs statements: see that pgaudit.log_parameter is off",
}


def findings(name: str, connection: Connection[DictRow]) -> Iterator[Finding]:
    """Judge the settings of a server. `name` is `log` or `keys`."""
    rows = connection.execute(STATEMENTS.settings_of_server.sql, {"names": _NAMES}).fetchall()
    found = {row["name"]: row["setting"] for row in rows}
    checks: dict[str, list[Finding]] = {}
    for setting, (topic, judge) in JUDGES.items():
        checks.setdefault(topic, [])
        if setting in found and (judged := judge(found[setting])):
            state, todo = judged
            checks[topic].append(Finding(f"{name}: {topic}", state, f"{setting} is {found[setting]}", todo))
    for topic, said in checks.items():
        yield from said or [Finding(f"{name}: {topic}", State.OK, "as it should be")]
    yield from _libraries(name, found)
    if name == "keys":
        yield from _copies(found, connection)


def _libraries(name: str, found: Mapping[str, str]) -> Iterator[Finding]:
    if "shared_preload_libraries" not in found:
        yield Finding(
            f"{name}: what it loads", State.UNKNOWN, "this login may not see it", "grant pg_read_all_settings, or ask"
        )
    loaded = {library.strip() for names in _LIBRARIES for library in found.get(names, "").split(",")}
    for library in sorted(loaded & _WATCHERS.keys()):
        yield Finding(f"{name}: what it loads", State.WARNING, library, _WATCHERS[library])


def _copies(found: Mapping[str, str], connection: Connection[DictRow]) -> Iterator[Finding]:
    """Say where further copies of the keys come from. Each opens what it holds while the roots of its time live."""
    if found.get("archive_mode", "off") != "off":
        yield Finding(
            "keys: copies",
            State.WARNING,
            "WAL is archived",
            "let no archive of the key database live longer than a root epoch",
        )
    [row] = connection.execute(STATEMENTS.standbys.sql).fetchall()
    if row["standbys"]:
        yield Finding(
            "keys: copies",
            State.WARNING,
            f"{row['standbys']} standbys or receivers of WAL follow",
            "let no copy of the key database be older than a root epoch",
        )
