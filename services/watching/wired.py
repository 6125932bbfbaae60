"""The sources that processes tell of, made of where their databases are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from crypto.ledger import Ledger
from services.embedded import Endpoints
from services.projecting import MODELS
from services.watching.looking import Look
from services.watching.standing import Source, answering, keys_source, ledger_source, log_source


class Wired:
    """Makes sources. Their connections are closed with the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def models(self, log_dsn: str) -> Sequence[Source]:
        """Tell how read models stand to the log: all that a projector can see."""
        return [log_source(self._look(log_dsn), list(MODELS))]

    def databases(self, endpoints: Endpoints, quarantine_days: int) -> Sequence[Source]:
        """Tell how both databases stand."""
        log = log_source(self._look(endpoints.log_dsn), list(MODELS), quarantine_days)
        return [log, keys_source(self._look(endpoints.keys_dsn))]

    def answers(self, endpoints: Endpoints) -> Sequence[Source]:
        """Tell no more than that both databases answer, for processes of which there are many."""
        return [
            answering("log", self._look(endpoints.log_dsn)),
            answering("keys", self._look(endpoints.keys_dsn)),
        ]

    def ledger(self, ledger: Ledger) -> Sequence[Source]:
        """Tell how the ledger stands."""
        return [ledger_source(ledger)]

    def _look(self, dsn: str) -> Look:
        look = Look(dsn)
        self._stack.callback(look.close)
        return look
