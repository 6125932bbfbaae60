"""Where a process of sealdesk can be stopped: around whatever others can see of what it does.

The product knows nothing of this. The methods through which everything passes that changes a database, the ledger or
the roots are wrapped for the time of a test, and call `stepping.point`.

    keys wrote      in a transaction of the key database that wrote or locked rows, before it commits
    keys committed  once it has
    keys read       once a transaction of the key database is over that did neither
    log read        once a short transaction on the log database is over, in which nothing was appended
    log append      before facts are appended
    log appended    once they are
    line, lined     before and after a line of the ledger
    decided         once a decision of a case (an approval, a hold) is saved
    root made, root destroyed
    again           before a try that follows one which somebody stood in the way of
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import tenacity.nap

from crypto import keystore
from crypto.keystore import KeyStore
from crypto.ledger import FileLedger
from crypto.roots import FileRoots
from services.log import Facts
from services.privacy import Privacy
from tests.protocol import stepping
from tests.protocol.stepping import point

#: What changes the world of others. Between two of these a process only reads, so that to stop it elsewhere
#: shows something new only where it acts on what it read.
CHANGES = frozenset(
    {"keys committed", "log appended", "lined", "decided", "root made", "root destroyed", stepping.GIVES_WAY}
)
#: All of them.
ALL = CHANGES | {"keys wrote", "keys read", "log read", "log append", "line"}


@contextmanager
def watched(stops: frozenset[str] = CHANGES) -> Iterator[None]:
    """Put points into the product, at some of which processes stop, until the end of the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("transaction", "snapshot", "replacing"):
            patch.setattr(KeyStore, name, _watched_transaction(getattr(KeyStore, name)))
        patch.setattr(Facts, "cursor", _watched_cursor(Facts.cursor))
        for owner, name, before, after in (
            (Facts, "append", "log append", "log appended"),
            (FileLedger, "append", "line", "lined"),
            (Privacy, "save", "decide", "decided"),
            (FileRoots, "turn", "root make", "root made"),
            (FileRoots, "destroy", "root destroy", "root destroyed"),
        ):
            patch.setattr(owner, name, _between(getattr(owner, name), before, after))
        # A replacement gives way at once instead of waiting for somebody who stands still.
        patch.setattr(keystore, "REPLACING_WAIT", "1ms")
        patch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda seconds: point(stepping.GIVES_WAY)))
        patch.setattr(stepping, "stops", set(stops))
        yield


def _between(call: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
    def watched_call(*arguments: Any, **more: Any) -> Any:
        point(before)
        result = call(*arguments, **more)
        point(after)
        return result

    return watched_call


def _watched_transaction(opened: Callable[..., Any]) -> Callable[..., Any]:
    @contextmanager
    def transaction(self: KeyStore) -> Iterator[Any]:
        point("keys begin")
        with opened(self) as cursor:
            yield cursor
            row = cursor.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL AS wrote").fetchone()
            if row["wrote"]:
                point("keys wrote")
        point("keys committed" if row["wrote"] else "keys read")

    return transaction


def _watched_cursor(opened: Callable[..., Any]) -> Callable[..., Any]:
    @contextmanager
    def cursor(self: Facts) -> Iterator[Any]:
        point("log begin")
        with opened(self) as lent:
            yield lent
        point("log read")

    return cursor
