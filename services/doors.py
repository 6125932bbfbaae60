"""The ways into both databases, one a role: a part of the house is given the one that lets it do what it is for.

What a process may be is up to its login. An owner, and so whoever runs the servers of a data folder, may be anything;
it works under the roles all the same. It folds read models itself, unless another login may be the projector. A login
that may be less is given the most that it may be wherever a part asks for more, and is refused there by the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crypto.keystore import KeyStore
from crypto.roles import BY_POWER, Login, Role, login_of
from domain.errors import RightMissing
from services import rights, schema
from services.embedded import Endpoints
from services.log import Facts, LogDatastore
from services.schema import Schema


class Doors:
    """Log and key database, by role. Pools open when they are first used; `close` closes them all."""

    def __init__(self, endpoints: Endpoints, log: Login, keys: Login, *, folds: bool) -> None:
        self._log_login, self._keys_login = log, keys
        #: Whether this process may fold: it may be the projector, and nobody else is.
        self.folds = folds
        first = LogDatastore(endpoints.log_dsn, _most(log))
        self._datastores: dict[Role | None, LogDatastore] = {_most(log): first}
        self._facts: dict[Role | None, Facts] = {_most(log): Facts(first)}
        store = KeyStore(endpoints.keys_dsn, _most(keys))
        self._keys: dict[Role | None, KeyStore] = {_most(keys): store}

    def __repr__(self) -> str:
        return "Doors()"

    def may(self, role: Role) -> bool:
        """Tell whether this process may be that, in every database that has the role."""
        in_log = role in self._log_login.roles
        return in_log and (role in self._keys_login.roles or role not in rights.ENTER["keys"])

    @property
    def sees(self) -> bool:
        """Tell whether this process may read the read models."""
        return self.folds or not self._log_login.roles.isdisjoint({Role.READER, Role.KEEPER, Role.PROJECTOR})

    def facts(self, role: Role | None = None) -> Facts:
        """Give the log as a role, or as the most that the login may be; `None` is the login itself, for its owner."""
        return self._log(role)[1]

    def datastore(self, role: Role) -> LogDatastore:
        """Give the pool of the log as a role, or as the most that the login may be."""
        return self._log(role)[0]

    def _log(self, role: Role | None) -> tuple[LogDatastore, Facts]:
        if role is not None and role not in self._log_login.roles:
            role = _most(self._log_login)
        if role not in self._facts:
            first = next(iter(self._datastores.values()))
            self._datastores[role] = first.as_role(role)
            self._facts[role] = Facts(self._datastores[role])
        return self._datastores[role], self._facts[role]

    def keys(self, role: Role) -> KeyStore:
        """Give the key database as a role, or as the most that the login may be."""
        taken = role if role in self._keys_login.roles else _most(self._keys_login)
        if taken not in self._keys:
            self._keys[taken] = next(iter(self._keys.values())).as_role(taken)
        return self._keys[taken]

    def close(self) -> None:
        """Give all connections back."""
        for keys in self._keys.values():
            keys.close()
        for facts in self._facts.values():
            facts.close()
        for datastore in self._datastores.values():
            datastore.close()


def _most(login: Login) -> Role:
    return next(role for role in BY_POWER if role in login.roles)


@contextmanager
def doors(endpoints: Endpoints, *, ours: bool | None = None) -> Iterator[Doors]:
    """Find out what the logins may be, keep nothing open of that, and close what was opened since at the end.

    `ours` says whether the databases are those of our own data folder, which are brought to today's version; None, that
    nobody asks for their versions.

    Raises:
        SchemaUnfit: a database has another version.
        RightMissing: a login has none of the roles.
        LogUnavailable, KeysUnavailable: a database cannot be reached.
    """
    # One connection each: a connection is most of what a start costs.
    with (
        schema.connected(schema.LOG, endpoints.log_dsn) as of_log,
        schema.connected(schema.KEYS, endpoints.keys_dsn) as of_keys,
    ):
        if ours is not None:
            # Both, before anything is changed in one of them.
            schema.see_to(of_log, schema.LOG, endpoints.log_dsn, ours=ours)
            schema.see_to(of_keys, schema.KEYS, endpoints.keys_dsn, ours=ours)
        log, keys = entering(of_log, schema.LOG), entering(of_keys, schema.KEYS)
        folding = folds(log, of_log)
    found = Doors(endpoints, log, keys, folds=folding)
    try:
        yield found
    finally:
        found.close()


def folds(login: Login, connection: schema.Connection) -> bool:
    """Tell whether a login of the log folds read models: nobody does in whose session a projector could do more."""
    if Role.PROJECTOR not in login.roles:
        return False
    if login.roles == {Role.PROJECTOR} and not login.owns:
        return True
    return not rights.folds_apart(connection)


def entering(connection: schema.Connection, schema_: Schema) -> Login:
    """Find out what a login may be in one database. An owner brings the rights up to date first, if that is needed.

    Raises:
        RightMissing: it has none of the roles.
    """
    login = login_of(connection)
    if login.owns and not rights.stand(connection, schema_.what):
        rights.see_to(connection, schema_.what)
        login = login_of(connection)
    if login.roles.isdisjoint(rights.ENTER[schema_.what]):
        raise RightMissing(
            f"the login of the {schema_.called} has none of the roles of sealdesk; whoever owns the database lets it "
            "take one with: sealdesk rights grant LOGIN --to intake|projector|reader|keeper"
        )
    return login
