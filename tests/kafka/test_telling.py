"""Officers, the keeper and recipients are killed, and what they stand on: each recipient is told of each shred.

The recipients are those of docs/recipients.md, as processes of their own. One has a key, and nobody else can read what
it is told.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kafka import KafkaProducer

from crypto.recipients import sign_reply
from domain.personal import Kind, Reference
from services.kafka import replies, telling
from services.kafka.connecting import client
from services.kafka.replies import Replies
from services.kafka.telling import Telling
from services.wiring import now
from tests.desks import Desk, desk_house
from tests.kafka.cluster import Cluster
from tests.kafka.databases import Databases
from tests.kafka.fleet import Fleet, environment

FACTOR = int(os.environ.get("SEALDESK_TEST_RECORDS", "10000")) // 10_000
#: People whom an officer forgets at a time, and how many times. The last of all is on hold.
PEOPLE, ROUNDS = 5, 6 * min(FACTOR, 8)
HELD = PEOPLE * ROUNDS
PATIENCE_SECONDS = 180
TENANT = "acme"

#: A recipient: the code of the documents, and a file that is synced before it answers.
RECIPIENT = """
import os, re, sys
from cryptography.hazmat.primitives.serialization import load_der_private_key
document, bootstrap, name, file, group = sys.argv[1:]
secret, key = (bytes.fromhex(sys.stdin.readline()) for _ in range(2))
[code] = re.findall(r"```python\\n(.*?)```", open(document).read(), re.DOTALL)
exec(code)
told = open(file, "a")
def act(kind, thing):
    told.write(thing + "\\n")
    told.flush()
    os.fsync(told.fileno())
run(bootstrap, "acme", name, secret, act, private_key=load_der_private_key(key, None) if key else None, group=group,
    session_timeout_ms=6000, heartbeat_interval_ms=2000)
"""


def upstream(number: int) -> str:
    """Name somebody so that the name is found nowhere by chance."""
    return f"qz-{number:05}-person"


@dataclass
class Outside:
    """A recipient as a process: it is killed, and started again whenever it has ended."""

    name: str
    bootstrap: str
    secret: str
    folder: Path
    key: bytes = b""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        document = Path(__file__).parents[2] / "docs" / "recipients.md"
        arguments = (str(document), self.bootstrap, self.name, str(self.file), f"{self.folder.name}.{self.name}")
        with (self.folder / f"{self.name}.said").open("ab") as said:
            command = [sys.executable, "-c", RECIPIENT, *arguments]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)
        assert self.process.stdin is not None
        with self.process.stdin as to:
            to.write(f"{self.secret}\n{self.key.hex()}\n".encode())

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def tend(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.start()

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.told"

    def told(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []


@dataclass
class House:
    """The house with its keeper, its officers and its recipients, and what can go wrong with them."""

    cluster: Cluster
    databases: Databases
    fleet: Fleet
    recipients: list[Outside]
    folder: Path
    rng: random.Random
    counts: dict[str, int] = field(default_factory=dict)

    def forget(self, people: list[int]) -> None:
        """Let an officer forget some people, for as often as it takes."""
        file = self._file(people)
        for _ in range(60):
            if self._officer(file).returncode in (0, 4):
                return
            time.sleep(0.5)
        raise AssertionError("forgetting takes too long")

    def kill_an_officer(self, people: list[int]) -> None:
        """Kill an officer who is at it, after the first line on the ledger."""
        ledger = self.folder / "ledger"
        before = _size(ledger)
        words = self._words(self._file(people))
        member = self.fleet.start(*words)
        end = time.monotonic() + 60
        while _size(ledger) == before and member.process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(self.rng.uniform(0, 0.3))
        self.fleet.members.remove(member)
        if member.process.poll() is None:
            member.process.send_signal(signal.SIGKILL)
            self._count("officer killed")
        member.process.wait()

    def kill_keeper(self) -> None:
        self.fleet.kill_one_of(self.rng, "keep")
        self._count("keeper killed")

    def kill_recipient(self) -> None:
        one = self.rng.choice(self.recipients)
        one.kill()
        one.start()
        self._count("recipient killed")

    def kill_leader(self) -> None:
        topic = self.rng.choice([telling.TOPIC, replies.TOPIC])
        leader = self.cluster.leader(topic, 0)
        self.cluster.kill(leader)
        time.sleep(1)
        self.cluster.restart(leader)
        self._count("broker killed")

    def crash(self, name: Any) -> Callable[[], None]:
        def crashing() -> None:
            self.databases.crash(name)
            time.sleep(0.5)
            self.databases.start()
            self._count(f"{name} database crashed")

        return crashing

    def tend(self) -> None:
        self.fleet.tend()
        for one in self.recipients:
            one.tend()

    def states(self) -> list[dict[str, Any]]:
        states: list[dict[str, Any]] = orjson.loads(self.fleet.run("recipients", "list", "--json"))
        return states

    def _file(self, people: list[int]) -> Path:
        file = self.folder / f"people-{people[0]}.txt"
        file.write_text("".join(f"contact {upstream(person)}\n" for person in people))
        return file

    def _words(self, file: Path) -> tuple[str, ...]:
        return ("shred", "contact", "--from", str(file), "--ground", "test", "--yes")

    def _officer(self, file: Path) -> subprocess.CompletedProcess[bytes]:
        return self.fleet.tried(*self._words(file))

    def _count(self, fault: str) -> None:
        self.counts[fault] = self.counts.get(fault, 0) + 1


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def opened(cluster: Cluster, databases: Databases, folder: Path) -> Iterator[House]:
    with databases.fresh("telling") as endpoints:
        fleet = Fleet(environment(folder, endpoints, cluster, "acme.none", TENANT), folder)
        fleet.run("tenant", "add", TENANT)
        fleet.run("topics", "create")
        private = X25519PrivateKey.generate()
        key = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        with desk_house(endpoints, folder) as house:
            desk = Desk(house, TENANT)
            add = house.recipients.add
            kinds = ("erased", "content_erased", "rectified", "restricted")
            secrets = {
                "books": add(desk.tenant.id, "books", kinds),
                "crm": add(desk.tenant.id, "crm", kinds, private.public_key().public_bytes_raw()),
            }
            for person in range(HELD + 1):
                name = upstream(person)
                desk.happens("contact.created", f"contact {name}", id=name, email=f"p{person}@example.org")
                desk.happens("ticket.opened", f"ticket {person}", id=person, requester_id=name)
            found = house.shredding.find(desk.tenant.id, Reference(Kind.PERSON, upstream(HELD)))
            house.holds.add(desk.tenant.id, found, actor="x", why="court")
        keys = {"crm": key}
        recipients = [
            Outside(name, cluster.broker.bootstrap, secret.hex(), folder, keys.get(name, b""))
            for name, secret in secrets.items()
        ]
        try:
            for one in recipients:
                one.start()
            fleet.start("keep")
            yield House(cluster, databases, fleet, recipients, folder, random.Random(19))
        finally:
            for one in recipients:
                one.kill()
            fleet.stop()


@pytest.mark.timeout(1800)
def test_every_recipient_is_told_of_every_shred_and_of_no_other_whoever_dies(
    cluster: Cluster, databases_that_crash: Databases, tmp_path: Path
) -> None:
    with opened(cluster, databases_that_crash, tmp_path) as house:
        faults = [
            house.kill_keeper,
            house.kill_leader,
            house.kill_recipient,
            house.crash("keys"),
            house.kill_keeper,
            house.crash("log"),
        ]
        for number in range(ROUNDS):
            people = list(range(number * PEOPLE, (number + 1) * PEOPLE))
            house.kill_an_officer(people)
            faults[number % len(faults)]()
            house.tend()
            house.forget(people)
            house.tend()
        house.forget([HELD])
        began, states = time.monotonic(), house.states()
        while any(one["acknowledged"] < PEOPLE * ROUNDS for one in states):
            assert time.monotonic() < began + PATIENCE_SECONDS, states
            house.tend()
            time.sleep(1)
            states = house.states()
        print(f"\nfaults: {dict(sorted(house.counts.items()))}; told: {[len(one.told()) for one in house.recipients]}")
        assert {name for name, count in house.counts.items() if count} == {
            "officer killed",
            "keeper killed",
            "broker killed",
            "recipient killed",
            "keys database crashed",
            "log database crashed",
        }
        _check(house, states)


def _check(house: House, states: list[dict[str, Any]]) -> None:
    wanted = {f"contact {upstream(person)}" for person in range(HELD)} | {f"ticket {person}" for person in range(HELD)}
    for one in house.recipients:
        assert set(one.told()) == wanted
    for state in states:
        assert {name: state[name] for name in ("acknowledged", "waiting", "unsent", "overdue", "failed", "missed")} == {
            "acknowledged": HELD,
            **dict.fromkeys(("waiting", "unsent", "overdue", "failed", "missed"), 0),
        }
    environ = house.fleet.environment
    with desk_house(_endpoints(environ), house.folder) as opened_house:
        house.fleet.end(*house.fleet.members)
        opened_house.certifying.recertify_told(1_000)
        with opened_house.keys.transaction() as cursor:
            rows = cursor.execute("SELECT certificate FROM shreds WHERE step = 'finished'").fetchall()
            assert cursor.execute("SELECT 1 FROM wrapping_keys WHERE kind = 'outbox'").fetchall() == []
    told = [row["certificate"]["told"] for row in rows]
    assert len(told) == HELD
    assert all(one["recipients"] == one["acknowledged"] == 2 for one in told)
    assert all(one["outbox_key_destroyed_at"] is not None for one in told)


def _endpoints(environ: Any) -> Any:
    from services.embedded import Endpoints

    return Endpoints(environ["SEALDESK_LOG_DSN"], environ["SEALDESK_KEYS_DSN"], None)


class _Unreadable(str):
    """The name of a header that is written as no UTF-8."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


def test_a_header_that_no_client_can_read_does_not_stop_the_replies(
    single: Cluster, databases_that_crash: Databases, tmp_path: Path
) -> None:
    news, answers = single.create_topic("privacy"), single.create_topic("replies")
    with databases_that_crash.fresh("poison") as endpoints, desk_house(endpoints, tmp_path) as house:
        desk = Desk(house)
        secret = house.recipients.add(desk.tenant.id, "crm", ["erased"])
        for person in (1, 2):
            desk.happens("contact.created", f"contact {person}", id=person)
            desk.shred(f"contact {person}")
        parts = (single.broker, house.keys, house.roots)
        tell = Telling(*parts, house.tenants, house.news, house.certifying, clock=now, topic=news)
        assert tell.step().sent == 2
        with house.keys.transaction() as cursor:
            ids = [row["telling_id"] for row in cursor.execute("SELECT telling_id FROM tellings")]
        first, second = (_reply(secret, id_) for id_ in ids)
        with closing(client(KafkaProducer, single.broker, acks="all")) as producer:
            producer.send(answers, value=first).get(timeout=10)
            for _ in range(3):
                producer.send(answers, value=b"x", headers=[(_Unreadable("x"), b"")])
            producer.flush()
            producer.send(answers, value=second).get(timeout=10)
        answered = Replies(*parts, clock=now, topic=answers).step()
        assert (answered.read, answered.refused) == (5, 3)
        assert tell.step().closed == 2


def _reply(secret: bytes, id_: UUID) -> bytes:
    return orjson.dumps({"id": str(id_), "status": "done", "mac": sign_reply(secret, id_, "done").hex()})


def test_what_a_recipient_with_a_key_is_told_lies_on_no_broker(
    single: Cluster, databases_that_crash: Databases, tmp_path: Path
) -> None:
    topic = single.create_topic("privacy")
    with databases_that_crash.fresh("sealed") as endpoints, desk_house(endpoints, tmp_path) as house:
        desk = Desk(house)
        public = X25519PrivateKey.generate().public_key().public_bytes_raw()
        house.recipients.add(desk.tenant.id, "crm", ["erased"], public)
        desk.happens("contact.created", "contact qz-sealed-one", id="qz-sealed-one", email="one@example.org")
        desk.shred("one@example.org")
        house.recipients.add(desk.tenant.id, "books", ["erased"])
        desk.happens("contact.created", "contact qz-clear-two", id="qz-clear-two", email="two@example.org")
        desk.shred("two@example.org")
        parts = (single.broker, house.keys, house.roots, house.tenants, house.news, house.certifying)
        assert Telling(*parts, clock=now, topic=topic).step().sent == 3
        assert single.holding(re.compile(rb"qz-sealed-one")) == []
        assert single.holding(re.compile(rb"qz-clear-two")) != []
