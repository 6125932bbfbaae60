"""Real logins in both clusters, one a role, and houses, keepers and projectors that work with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from crypto.roles import Role
from domain.errors import SealdeskError
from services import rights, wiring
from services.embedded import Endpoints
from services.rights import KEEPER, PROJECTOR
from services.wiring import House
from tests.desks import Desk, desk_house


@dataclass(frozen=True)
class Logins:
    """A login a role, in both clusters, and one that has none."""

    endpoints: Endpoints
    names: Mapping[Role | None, str]

    def dsn(self, which: str, role: Role | None) -> str:
        whole = self.endpoints.log_dsn if which == "log" else self.endpoints.keys_dsn
        return make_conninfo(whole, user=self.names[role])

    def of(self, role: Role | None) -> Endpoints:
        return replace(self.endpoints, log_dsn=self.dsn("log", role), keys_dsn=self.dsn("keys", role))


@contextmanager
def logins(endpoints: Endpoints) -> Iterator[Logins]:
    names: dict[Role | None, str] = {role: f"{role.short}-{uuid4().hex[:8]}" for role in Role}
    names[None] = f"nobody-{uuid4().hex[:8]}"
    for which, dsn in {"log": endpoints.log_dsn, "keys": endpoints.keys_dsn}.items():
        with psycopg.connect(dsn, autocommit=True) as owner:
            rights.see_to(owner, which)
            for role, name in names.items():
                owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
                if role is not None:
                    rights.let(owner, which, name, role, dry_run=False)
    try:
        yield Logins(endpoints, names)
    finally:
        for dsn in (endpoints.log_dsn, endpoints.keys_dsn):
            with psycopg.connect(dsn, autocommit=True) as owner:
                for name in names.values():
                    owner.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


@contextmanager
def house_of(names: Logins, role: Role | None, folder: Path) -> Iterator[House]:
    with desk_house(names.of(role), folder) as house:
        yield house


@contextmanager
def projected(names: Logins) -> Iterator[None]:
    """Have a projector with its own login fold, in a thread, as `sealdesk project` does: nobody else does then."""
    ended = Event()
    with wiring.projector(names.dsn("log", PROJECTOR)) as projector:

        def fold() -> None:
            # What a test puts in its way is for the one who waits to tell.
            with suppress(SealdeskError):
                while not ended.wait(0.03):
                    projector.projecting.catch_up()

        thread = Thread(target=fold)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextmanager
def kept(names: Logins, folder: Path) -> Iterator[None]:
    """Have a keeper mend, in a thread, as `sealdesk keep` does."""
    with house_of(names, KEEPER, folder) as house:
        ended: list[bool] = []
        failed: list[BaseException] = []

        def mend() -> None:
            try:
                while not ended:
                    house.mend()
            except BaseException as error:
                failed.append(error)

        thread = Thread(target=mend)
        thread.start()
        try:
            yield
        finally:
            ended.append(True)
            thread.join()
        assert failed == []


def desk_in(house: House) -> Desk:
    """A desk whose tenant is there already: not every login may add one."""
    desk = Desk.__new__(Desk)
    desk.house, desk.name, desk.said, desk.tenant = house, "acme", [], house.tenants.named("acme")
    return desk
