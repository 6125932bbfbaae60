"""Bring read models to the head of the log. The list of models is here, and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from tenacity import (
    Retrying,
    retry,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_fixed,
    wait_random,
)

from crypto.roles import refused
from domain.errors import LogUnavailable, PositionMoved, RightMissing
from projections import articles, companies, contacts, erasures, forums, groups, paging, reports, tickets
from projections.paging import Progress, ReadModel
from services.log import Facts
from services.rebuilding import rebuild

MODELS: Mapping[str, ReadModel] = MappingProxyType(
    {model.name: model for model in (contacts, tickets, reports, erasures, forums, articles, companies, groups)}
)


#: How long somebody waits for a projector that gets nowhere, and how often he looks, in seconds.
WAIT_SECONDS = 10.0
LOOK_SECONDS = 0.02


FOLDS_APART = (
    "the read models belong to a login of their own, whose code would run in this session: run this command with that "
    "login (sealdesk rights show)"
)


class Projecting:
    """Feed the read models of one installation. Another process may feed them too: one of the two gives way.

    Whose login may not fold looks at what others have folded (`folds`), and waits for it if he has to (`waits`). Who
    may see nothing of it (`sees`) does neither.
    """

    def __init__(self, facts: Facts, *, folds: bool = True, waits: bool = False, sees: bool = True) -> None:
        self._facts = facts
        self._folds = folds
        self._waits = waits
        self._sees = sees

    def catch_up(self, progress: Progress | None = None, *, models: Collection[str] | None = None) -> dict[str, int]:
        """Fold what is new into every read model, or those that are named. Returns the position each has reached.

        Raises:
            LogUnavailable: somebody else has to fold, and nobody does.
        """
        wanted = MODELS if models is None else {name: MODELS[name] for name in models}
        if not self._sees:
            return {}
        if not self._folds:
            return self._waited_for(wanted) if self._waits else self.positions()
        if (reached := self._together(list(wanted.values()), progress)) is not None:
            return dict.fromkeys(wanted, reached)
        return {name: self._catch_up(model, progress) for name, model in wanted.items()}

    def _together(self, models: Sequence[ReadModel], progress: Progress | None) -> int | None:
        """Try to fold what is new into all models at once. If not, each is then brought there alone.

        So a model that cannot be folded stops no other, and says itself what is wrong.
        """
        try:
            with self._facts.connection() as connection:
                return paging.catch_up_together(connection, self._facts, models, progress=progress)
        except Exception:
            return None

    @retry(
        retry=retry_if_exception_type(PositionMoved),
        stop=stop_after_attempt(50),
        wait=wait_random(0, 0.1),
        reraise=True,
    )
    def _catch_up(self, model: ReadModel, progress: Progress | None) -> int:
        with self._facts.connection() as connection:
            return paging.catch_up(connection, self._facts, model, progress=progress)

    def _waited_for(self, wanted: Collection[str]) -> dict[str, int]:
        """Wait until a projector is where the log is now, for as long as it gets on."""
        head, reached = self._facts.head(), -1
        while (further := self._further_than(reached, head, wanted)) < head:
            if further == reached:
                raise LogUnavailable(
                    "the read models are behind the log, this login may not fold them, and nobody else does: start "
                    "sealdesk project"
                )
            reached = further
        return self.positions()

    def _further_than(self, before: int, head: int, wanted: Collection[str]) -> int:
        """Wait until the one furthest behind gets on, or for as long as that is waited for."""
        looking = Retrying(
            retry=retry_if_result(lambda found: found <= before and found < head),
            stop=stop_after_delay(WAIT_SECONDS),
            wait=wait_fixed(LOOK_SECONDS),
            retry_error_callback=lambda _: before,
        )
        return looking(lambda: min(found for name, found in self.positions().items() if name in wanted))

    def positions(self) -> dict[str, int]:
        """Read how far each read model is."""
        with self._facts.connection() as connection:
            return {name: paging.position(connection, model) for name, model in MODELS.items()}

    def rebuild(self, name: str, progress: Progress | None = None) -> int:
        """Build one read model anew beside the live one and swap. Returns the position reached.

        Raises:
            RightMissing: the login of this process may not fold.
        """
        if not self._folds:
            raise RightMissing(FOLDS_APART if self._waits else refused(None, "log"))
        return rebuild(self._facts.own_connection, self._facts, MODELS[name], progress=progress)
