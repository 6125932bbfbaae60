"""What a check says: a state, a sentence about what was found, and what to do next.

Rule: a check stands alone. Whatever stops it becomes a finding, and the next check goes on. No finding repeats a DSN, a
password, or a word of a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import psycopg
from psycopg_pool import PoolTimeout

from domain.errors import NobodyCanAct, SealdeskError
from services.settings import Settings

#: What PostgreSQL says to a login that may not look.
_NOT_ALLOWED = psycopg.errors.InsufficientPrivilege.sqlstate or ""


class State(StrEnum):
    """How a thing stands."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the account. `todo` is empty where nothing is to be done."""

    check: str
    state: State
    says: str
    todo: str = ""

    def as_dict(self) -> dict[str, str]:
        """Give the row for programs."""
        return {"check": self.check, "state": self.state.value, "says": self.says, "todo": self.todo}


@dataclass(frozen=True, slots=True)
class Case:
    """What the checks look at. A DSN is None where no server runs, and nothing here starts one.

    `is_keeper_untold` says that a setting of the roots was wrong and left out: then nobody asks for a root, since the
    other settings lead elsewhere, where the first use would make one.
    """

    settings: Settings
    log_dsn: str | None = field(repr=False)
    keys_dsn: str | None = field(repr=False)
    at: datetime
    is_keeper_untold: bool = False

    @property
    def ours(self) -> bool:
        """Tell whether the servers are those of the data folder."""
        return self.settings.log_dsn is None


def guarded(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Give the findings of a check, and one more if something stops it."""
    try:
        yield from look()
    except SealdeskError as error:
        if isinstance(error, NobodyCanAct) and _NOT_ALLOWED in str(error):
            yield Finding(check, State.UNKNOWN, "this login may not look", "run it once more as the keeper's login")
        else:
            yield Finding(check, State.WRONG, str(error))
    except psycopg.errors.InsufficientPrivilege:
        yield Finding(check, State.UNKNOWN, "this login may not look", "run it once more as the keeper's login")
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout):
        yield Finding(check, State.UNKNOWN, "the database went away meanwhile", "run it once more")
    except PermissionError:
        yield Finding(check, State.UNKNOWN, "this account may not look", "run it as the account that runs sealdesk")
    except Exception as error:
        # Only the type: an unexpected error may quote anything.
        yield Finding(check, State.UNKNOWN, f"something unexpected stopped this check ({type(error).__name__})")
