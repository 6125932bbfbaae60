"""Bring read models to the head of the log. The list of models is here, and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from domain.errors import PositionMoved
from projections import articles, companies, contacts, erasures, forums, groups, paging, reports, tickets
from projections.paging import Progress, ReadModel
from services.log import Facts
from services.rebuilding import rebuild

MODELS: Mapping[str, ReadModel] = MappingProxyType(
    {model.name: model for model in (contacts, tickets, reports, erasures, forums, articles, companies, groups)}
)


class Projecting:
    """Feed the read models of one installation. Another process may feed them too: one of the two gives way."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def catch_up(self, progress: Progress | None = None, *, models: Collection[str] | None = None) -> dict[str, int]:
        """Fold what is new into every read model, or those that are named. Returns the position each has reached."""
        wanted = MODELS if models is None else {name: MODELS[name] for name in models}
        return {name: self._catch_up(model, progress) for name, model in wanted.items()}

    @retry(
        retry=retry_if_exception_type(PositionMoved),
        stop=stop_after_attempt(50),
        wait=wait_random(0, 0.1),
        reraise=True,
    )
    def _catch_up(self, model: ReadModel, progress: Progress | None) -> int:
        with self._facts.connection() as connection:
            return paging.catch_up(connection, self._facts, model, progress=progress)

    def positions(self) -> dict[str, int]:
        """Read how far each read model is."""
        with self._facts.connection() as connection:
            return {name: paging.position(connection, model) for name, model in MODELS.items()}

    def rebuild(self, name: str, progress: Progress | None = None) -> int:
        """Build one read model anew beside the live one and swap. Returns the position reached."""
        return rebuild(self._facts.own_connection, self._facts, MODELS[name], progress=progress)
