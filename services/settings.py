"""Where everything is, read once at the start from `--data` and the SEALDESK_* variables.

Rule: the roots, the ledger and the signing key never lie inside the data folder. A copy of that folder is a
backup of sealed data; with the roots in it, it would be a backup of plaintext. They are also apart from each
other, because a copy of the roots goes elsewhere than one of the ledger.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from uuid import UUID, uuid4

import platformdirs
import psycopg
from psycopg.conninfo import make_conninfo

from crypto import outbox
from domain.errors import SettingsWrong
from services.kafka.connecting import Broker, Mechanism
from services.ledgers.places import LedgerPlace, place_of
from services.roots import ROOTS_BEFORE, Where, where_of

#: How long a bucket keeps each line of the ledger: while a fence may stand, and a copy of before it may be restored.
LEDGER_YEARS = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Say where the data is, where the secrets are, and how cautious to be.

    `log_dsn` and `keys_dsn` are given for databases that somebody else runs; without them sealdesk runs its
    own below `data`.
    """

    data: Path | None
    log_dsn: str | None = field(default=None, repr=False)  # A DSN may hold a password.
    keys_dsn: str | None = field(default=None, repr=False)
    kafka: Broker | None = None
    #: Where sealed files lie: a folder, or `s3://BUCKET/PREFIX`. They may lie with the sealed data.
    blobs: str | None = None
    roots: Path
    #: Who keeps the keys above the roots, and where the roots come from while they move.
    kept: Where
    ledger: LedgerPlace
    signing: Path
    #: A second place of the ledger, on another disk.
    ledger_copy: LedgerPlace | None = None
    #: Why there is no second place although nobody wanted that; None if there is one, or none was wanted.
    copyless: str | None = None
    #: Records sealed and stored in one transaction. Beyond 1000 the rate hardly grows, and a crash repeats
    #: more.
    batch_size: int = 1000
    #: A shred of more facts than this has to say how many it expects, so that a slip cannot forget a whole
    #: desk.
    brake: int = 1000
    #: How long a shredded reference is refused.
    fence_days: int = 400
    #: How long a record stays in the quarantine; then the key of its day dies.
    quarantine_days: int = 14
    #: How long what upstream called the erased is kept, sealed, for recipients that have not acknowledged.
    news_days: int = outbox.DAYS
    #: Whether what is stored is deleted from the topics.
    clearing: bool = True
    #: Whether publishers are told what became of each record.
    receipts: bool = True
    #: How long a record may lie in a topic unread; then the brokers delete it.
    topic_days: int = 7
    #: How old a root epoch gets before `sealdesk keep` turns it.
    epoch_hours: int = 24
    #: A copy of the key database that opens everything is younger than this, or `sealdesk keys status` warns.
    backup_hours: int = 25
    #: Analysts are told of no group of fewer tickets than this.
    fold: int = 5
    #: Logs of processes that a proof looks through: files, and folders with all that is below them.
    logs: tuple[Path, ...] = ()
    #: Who acts, as it will stand, sealed, in access lines and cases.
    actor: str

    @classmethod
    def read(cls, data: Path | None = None, environ: Mapping[str, str] = os.environ, *, make: bool = True) -> Settings:
        """Read the settings and create the folders that do not exist yet, for nobody else to look into.

        Without `make` nothing is created, and a data folder that has no id yet is refused.

        Raises:
            SettingsWrong: a setting is missing, malformed, unsafe or contradicts another. The message names
                the variable and never repeats a DSN.
        """
        data = (data.expanduser().resolve() if data else None) or _folder(environ, "SEALDESK_DATA")
        log_dsn, keys_dsn = log_dsn_of(environ), keys_dsn_of(environ)
        if (log_dsn is None) != (keys_dsn is None):
            raise SettingsWrong("Set both SEALDESK_LOG_DSN and SEALDESK_KEYS_DSN, or neither.")
        if data is None and log_dsn is None:
            raise SettingsWrong(
                "Say where the data is: --data FOLDER, SEALDESK_DATA, or SEALDESK_LOG_DSN and _KEYS_DSN."
            )
        if data is not None and make:
            _create(data)
        secrets = _secrets(data, environ, make=make)
        ledger, copy, copyless = _ledgers(data, secrets, environ, make=make)
        for folder in (*secrets.values(), *((copy,) if isinstance(copy, Path) else ())) if make else ():
            _create(folder)
        return cls(
            data=data,
            log_dsn=log_dsn,
            keys_dsn=keys_dsn,
            kafka=broker_of(environ),
            blobs=environ.get("SEALDESK_BLOBS") or (None if data is None else str(data / "blobs")),
            roots=secrets["SEALDESK_ROOTS"],
            kept=_kept(data, secrets, environ),
            ledger=ledger,
            signing=secrets["SEALDESK_SIGNING"],
            ledger_copy=copy,
            copyless=copyless,
            batch_size=_number(environ, "SEALDESK_BATCH", cls.batch_size, least=1),
            brake=_number(environ, "SEALDESK_BRAKE", cls.brake, least=0),
            fence_days=_number(environ, "SEALDESK_FENCE_DAYS", cls.fence_days, least=1),
            quarantine_days=quarantine_days_of(environ),
            news_days=_number(environ, "SEALDESK_NEWS_DAYS", cls.news_days, least=1),
            clearing=clearing_of(environ),
            receipts=receipts_of(environ),
            topic_days=topic_days_of(environ),
            epoch_hours=_number(environ, "SEALDESK_EPOCH_HOURS", cls.epoch_hours, least=1),
            backup_hours=_number(environ, "SEALDESK_BACKUP_HOURS", cls.backup_hours, least=1),
            fold=_number(environ, "SEALDESK_FOLD", cls.fold, least=2),
            logs=tuple(Path(name).expanduser() for name in environ.get("SEALDESK_LOGS", "").split(os.pathsep) if name),
            actor=environ.get("SEALDESK_ACTOR") or _login_name(),
        )


def _ledgers(
    data: Path | None, secrets: Mapping[str, Path], environ: Mapping[str, str], *, make: bool
) -> tuple[LedgerPlace, LedgerPlace | None, str | None]:
    """Return both places of the ledger; the second is None if there is one only, and why, if nobody wanted that.

    Whoever says where the ledger is says so of its copy, too. By default there are two folders.
    """
    broker, days = broker_of(environ), _number(environ, "SEALDESK_FENCE_DAYS", Settings.fence_days, least=1)
    years = _number(environ, "SEALDESK_LEDGER_YEARS", LEDGER_YEARS, least=1)
    place: LedgerPlace
    if "SEALDESK_LEDGER" in secrets:
        place = secrets["SEALDESK_LEDGER"]
    else:
        place = place_of("SEALDESK_LEDGER", environ["SEALDESK_LEDGER"], broker, years=years, fence_days=days)
    said = environ.get("SEALDESK_LEDGER_COPY")
    if said == "none" or (not said and (environ.get("SEALDESK_LEDGER") or data is None)):
        return place, None, None
    if not said:
        assert data is not None
        folder = _default_copy(data, make=make)
        try:
            _see_apart("the default of SEALDESK_LEDGER_COPY", folder, data, secrets)
            if make:
                _create(folder)
        except SettingsWrong as error:
            return place, None, str(error)
        return place, folder, None
    copy = place_of("SEALDESK_LEDGER_COPY", said, broker, years=years, fence_days=days)
    if copy == place:
        raise SettingsWrong("SEALDESK_LEDGER_COPY and SEALDESK_LEDGER are one place: a copy has another.")
    if isinstance(copy, Path):
        _see_apart("SEALDESK_LEDGER_COPY", copy, data, secrets)
    return place, copy, None


def _see_apart(what: str, copy: Path, data: Path | None, secrets: Mapping[str, Path]) -> None:
    """Refuse a copy in a folder of something else, or around one."""
    for name, other in {"SEALDESK_DATA": data, **secrets}.items():
        if other is not None and (copy.is_relative_to(other) or other.is_relative_to(copy)):
            raise SettingsWrong(f"{what} and {name} lie in each other: give it a folder, and a disk, apart.")


def _default_copy(data: Path, *, make: bool) -> Path:
    """Return a folder that is apart from the first also where state and configuration lie in one, as on macOS."""
    return platformdirs.user_state_path("sealdesk").resolve() / str(_house_id(data, make=make)) / "ledger-copy"


def log_dsn_of(environ: Mapping[str, str] = os.environ) -> str | None:
    """Read where the log database is; None without SEALDESK_LOG_DSN.

    Raises:
        SettingsWrong: the DSN is malformed, or the file of its password cannot be read.
    """
    return _dsn(environ, "LOG")


def keys_dsn_of(environ: Mapping[str, str] = os.environ) -> str | None:
    """Read where the key database is; None without SEALDESK_KEYS_DSN.

    Raises:
        SettingsWrong: the DSN is malformed, or the file of its password cannot be read.
    """
    return _dsn(environ, "KEYS")


def quarantine_days_of(environ: Mapping[str, str] = os.environ) -> int:
    """Read how many days a record stays in the quarantine.

    Raises:
        SettingsWrong: SEALDESK_QUARANTINE_DAYS is no whole number, or none.
    """
    return _number(environ, "SEALDESK_QUARANTINE_DAYS", Settings.quarantine_days, least=1)


def listen_of(environ: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Read where /metrics, /healthz and /readyz are served, as host and port; None without SEALDESK_LISTEN.

    A port alone is one on loopback.

    Raises:
        SettingsWrong: it is no `host:port`.
    """
    text = environ.get("SEALDESK_LISTEN")
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise SettingsWrong("SEALDESK_LISTEN is host:port, or a port alone for loopback.")
    return host.strip("[]") or "127.0.0.1", int(port)


def _dsn(environ: Mapping[str, str], name: str) -> str | None:
    """Return the DSN of a database, with the password that stands in a file of its own."""
    dsn = environ.get(f"SEALDESK_{name}_DSN") or None
    file = _folder(environ, f"SEALDESK_{name}_PASSWORD_FILE")
    if dsn is None:
        if file is not None:
            raise SettingsWrong(f"SEALDESK_{name}_PASSWORD_FILE needs SEALDESK_{name}_DSN.")
        return None
    try:
        given = {} if file is None else {"password": file.read_text().strip()}
        return make_conninfo(dsn, **given)
    except (OSError, UnicodeDecodeError):
        raise SettingsWrong(f"SEALDESK_{name}_PASSWORD_FILE: {file} cannot be read.") from None
    except psycopg.Error:
        raise SettingsWrong(f"SEALDESK_{name}_DSN is no connection string of PostgreSQL.") from None


def broker_of(environ: Mapping[str, str] = os.environ) -> Broker | None:
    """Read where Kafka is and how to get in, from the SEALDESK_KAFKA* variables; None without SEALDESK_KAFKA.

    Raises:
        SettingsWrong: a setting is malformed, or contradicts another.
    """
    bootstrap = environ.get("SEALDESK_KAFKA")
    if not bootstrap:
        return None
    said = environ.get("SEALDESK_KAFKA_TLS", "off")
    if said not in ("on", "off"):
        raise SettingsWrong("SEALDESK_KAFKA_TLS is on or off.")
    mechanism: Mechanism
    match environ.get("SEALDESK_KAFKA_MECHANISM", "SCRAM-SHA-512"):
        case "SCRAM-SHA-512" | "SCRAM-SHA-256" as mechanism:
            pass
        case _:
            raise SettingsWrong("SEALDESK_KAFKA_MECHANISM is SCRAM-SHA-512 or SCRAM-SHA-256.")
    names = ("ca", "certificate", "key", "password_file")
    files = {name: _folder(environ, f"SEALDESK_KAFKA_{name.upper()}") for name in names}
    if said == "off" and any(files[name] for name in ("ca", "certificate", "key")):
        raise SettingsWrong("SEALDESK_KAFKA_CA, _CERTIFICATE and _KEY are for TLS: set SEALDESK_KAFKA_TLS=on.")
    if (user := environ.get("SEALDESK_KAFKA_USER") or None) and files["password_file"] is None:
        raise SettingsWrong("SEALDESK_KAFKA_USER needs SEALDESK_KAFKA_PASSWORD_FILE.")
    return Broker(bootstrap=bootstrap, tls=said == "on", user=user, mechanism=mechanism, **files)


def clearing_of(environ: Mapping[str, str] = os.environ) -> bool:
    """Read whether what is stored is deleted from the topics.

    Raises:
        SettingsWrong: SEALDESK_CLEARING is neither on nor off.
    """
    return _switch(environ, "SEALDESK_CLEARING")


def receipts_of(environ: Mapping[str, str] = os.environ) -> bool:
    """Read whether receipts are sent.

    Raises:
        SettingsWrong: SEALDESK_RECEIPTS is neither on nor off.
    """
    return _switch(environ, "SEALDESK_RECEIPTS")


def _switch(environ: Mapping[str, str], variable: str) -> bool:
    said = environ.get(variable) or "on"
    if said not in ("on", "off"):
        raise SettingsWrong(f"{variable} is on or off.")
    return said == "on"


def topic_days_of(environ: Mapping[str, str] = os.environ) -> int:
    """Read how many days a record may lie in a topic unread.

    Raises:
        SettingsWrong: SEALDESK_TOPIC_DAYS is no whole number, or none.
    """
    return _number(environ, "SEALDESK_TOPIC_DAYS", Settings.topic_days, least=1)


def _secrets(data: Path | None, environ: Mapping[str, str], *, make: bool) -> dict[str, Path]:
    """Return the folders of roots, ledger and signing key by the variable that sets each, if it is in a folder."""
    found: dict[str, Path] = {}
    elsewhere = (environ.get("SEALDESK_LEDGER") or "").startswith(("kafka://", "s3://"))
    for variable in ("SEALDESK_ROOTS", *(() if elsewhere else ("SEALDESK_LEDGER",)), "SEALDESK_SIGNING"):
        folder = _folder(environ, variable)
        if folder is None:
            if data is None:
                raise SettingsWrong(f"Without a data folder there is no default for {variable}: set it.")
            house = platformdirs.user_config_path("sealdesk").resolve() / str(_house_id(data, make=make))
            folder = house / variable.removeprefix("SEALDESK_").lower()
        if data is not None and folder.is_relative_to(data):
            raise SettingsWrong(
                f"{variable} is {folder}, inside the data folder {data}: a copy would hold what opens it."
            )
        found[variable] = folder
    for (inner, one), (outer, other) in permutations(found.items(), 2):
        if one.is_relative_to(other):
            raise SettingsWrong(f"{inner} lies in {outer}: each needs a folder of its own, with its own backups.")
    return found


def _kept(data: Path | None, secrets: Mapping[str, Path], environ: Mapping[str, str]) -> Where:
    """Return how the roots are kept. Those that they come from lie as far from everything else as they do."""
    where = where_of(secrets["SEALDESK_ROOTS"], environ)
    if where.before is not None:
        others = [*secrets.values(), *(() if data is None else (data,))]
        old = where.before.folder
        if any(old.is_relative_to(other) or other.is_relative_to(old) for other in others):
            raise SettingsWrong(f"{ROOTS_BEFORE} lies in a folder of something else; roots have one of their own.")
    return where


def _house_id(data: Path, *, make: bool) -> UUID:
    """Return the random id that ties a data folder to its secrets, even after a move or a restore."""
    path = data / "id"
    if not make and not path.exists():
        raise SettingsWrong(f"{path} is not there: nothing was started in this data folder yet, or it is another one.")
    draft = data / f"id.{uuid4()}"
    if not path.exists():
        draft.touch(mode=0o600)
        draft.write_text(f"{uuid4()}\n")
        try:
            # Linking refuses to replace, so of two processes that start together one id wins for both.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    try:
        return UUID(path.read_text().strip())
    except ValueError:
        raise SettingsWrong(f"{path} holds no id, and without it the roots cannot be found: restore it.") from None


def _create(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsWrong(f"The folder {folder} cannot be made: {error.strerror}.") from error


def _folder(environ: Mapping[str, str], variable: str) -> Path | None:
    text = environ.get(variable)
    return Path(text).expanduser().resolve() if text else None


def _number(environ: Mapping[str, str], variable: str, default: int, *, least: int) -> int:
    text = environ.get(variable) or str(default)
    if not text.isascii() or not text.isdecimal() or int(text) < least:
        raise SettingsWrong(f"{variable} has to be a whole number, {least} or more.")
    return int(text)


def _login_name() -> str:
    """Return the name of the account that runs this. LOGNAME and USER are not asked: anybody can set them."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
