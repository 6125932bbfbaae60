"""Follow the log: fold what is new as soon as an append says so, and look every second all the same.

PostgreSQL tells of an append at its commit (NOTIFY), so read models are behind by milliseconds. A notice can be missed,
between two connections or behind a proxy that drops them; the look does not rely on it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from time import monotonic

import psycopg
from psycopg import sql

from services.log import CHANNEL, Facts, translated
from services.projecting import Projecting
from services.watching.pulse import Stop

#: How far read models may be behind when a notice went missing.
LOOK_SECONDS = 1.0


def follow(
    facts: Facts,
    projecting: Projecting,
    stop: Stop,
    *,
    models: Collection[str] | None = None,
    caught_up: Callable[[float], object] = lambda seconds: None,
) -> None:
    """Keep read models (all, or those that are named) at the head of the log until `stop` is set.

    `caught_up` is called whenever everything is folded that was there, with how many seconds that took.

    Raises:
        LogUnavailable: the database went away; nothing is half folded. Follow again to go on.
    """

    def turned(position: int, head: int) -> None:
        # After a page and before the next: nothing is half done.
        if stop.is_set():
            raise _Ended

    seen: int | None = None
    with closing(facts.own_connection()) as connection, translated():
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
        while not stop.is_set():
            begun = monotonic()
            if (head := facts.head()) != seen:
                try:
                    projecting.catch_up(turned, models=models)
                except _Ended:
                    return
                seen = head
            caught_up(monotonic() - begun)
            _wait_for_notice(connection)


@contextmanager
def listening(facts: Facts) -> Iterator[Callable[[float, Stop], bool]]:
    """Give a way to wait for an append: so many seconds at most, and not beyond the wish to end. It says if one came.

    Raises:
        LogUnavailable: the database went away.
    """
    with closing(facts.own_connection()) as connection, translated():
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))

        def wait(seconds: float, stop: Stop) -> bool:
            end = monotonic() + seconds
            while not stop.is_set() and (left := end - monotonic()) > 0:
                for _ in connection.notifies(timeout=min(left, LOOK_SECONDS), stop_after=1):
                    return True
            return False

        yield wait


class _Ended(Exception):
    """The wish to end came between two pages."""


def _wait_for_notice(connection: psycopg.Connection[object]) -> None:
    """Return at the next notice of an append, or after a second."""
    for _ in connection.notifies(timeout=LOOK_SECONDS, stop_after=1):
        return
