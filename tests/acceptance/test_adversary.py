"""With every disk, WAL and backup of all times and all living keys in hand, after `unrecoverable_since`: nothing opens.

An adversary copies everything after every step of a house that works: both databases as backups would, the pages of
their tables, the WAL, the sealed files, the ledger, a topic. In the end it gets the keys that live. Before the old root
is destroyed it opens whatever was ever said; from then on it opens what lives, to the last word, and nothing else.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crypto import certificates
from crypto.halves import PublicHalf
from crypto.outbox import Outbox
from crypto.pairs import Extent, Pairs
from crypto.recipients import WANTED
from crypto.sealing import header_of
from crypto.tree import Tree
from crypto.turning import Turning
from crypto.wrapping import new_key
from domain.ids import ThingId
from domain.personal import Kind, Reference
from services import epochs
from services.desk_words import WORDS_TYPE
from services.embedded import serving
from services.publishing.opening import Opening
from services.publishing.sealing import Sealer
from services.records import parcel_of
from services.sealed import parcel_sealed
from services.settings import Settings
from services.shredding import Order
from services.wiring import House, house, now
from tests.acceptance.adversary import Adversary, Opened, living_keys, unread_columns
from tests.acceptance.raw_copies import RawCopies, seals_in, unwrapped, wrapped_in
from tests.acceptance.test_at_rest import _forms
from tests.desks import Desk

#: Every word of a run begins alike, so that all of them are looked for at once.
STEM = f"zq{secrets.token_hex(6)}"
WORD = re.compile(rf"{STEM}[a-z0-9]+".encode())
#: The WAL is kept whole, as an archive would; nothing has to outlive the machine.
ARCHIVING = {"wal_keep_size": "4GB", "wal_compression": "off", "fsync": "off"}
NO_GRACE = timedelta(0)
#: Two turns are told of.
EPOCHS = 3


@dataclass
class Story:
    """A desk in whose every word stands what becomes of it, and an adversary who copies after each step."""

    desk: Desk
    adversary: Adversary
    disks: list[RawCopies]
    dying: set[bytes] = field(default_factory=set)
    living: set[bytes] = field(default_factory=set)
    certificates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def house(self) -> House:
        return self.desk.house

    def dies(self, name: str) -> str:
        """Make a word of somebody, or of something, that will go."""
        self.dying.add(f"{STEM}{name}".encode())
        return f"{STEM}{name}"

    def lives(self, name: str) -> str:
        """Make a word that stays."""
        self.living.add(f"{STEM}{name}".encode())
        return f"{STEM}{name}"

    def copied(self) -> None:
        """Copy everything: what is on the disks as it happens to be, and after all was written there."""
        self.adversary.copy()
        for disk in self.disks:
            disk.copy()
            disk.checkpoint()
            disk.copy()

    def tell(self, type_: str, *, taken: bool = True, **data: Any) -> None:
        raw = self.desk.event(type_, "", **data).replace(b'"subject":"",', b"", 1)
        self.desk.said.append(raw)
        assert self.desk.take(raw).quarantined == (not taken)
        self.copied()

    def shred(self, kind: Kind, value: str) -> None:
        found = self.house.shredding.find(self.desk.tenant.id, Reference(kind, value))
        order = Order(self.desk.tenant.id, "test", "tester", note=self.lives(f"note{len(self.certificates)}"))
        self.certificates.append(self.house.shredding.request(found, order))
        self.copied()

    def attach(self, file: int, content: str) -> None:
        self.house.attaching.put(
            self.desk.tenant.id, Reference(Kind.ATTACHMENT, str(file)), [f"{content}\n".encode() * 99]
        )
        self.copied()

    def publish_sealed(self, **data: Any) -> None:
        """Take a reply that was sealed at its publisher; the adversary reads the topic, too."""
        tenant, at = self.desk.tenant, datetime.now(UTC)
        pair = self.house.pairs.current(tenant.id, at=at)
        sealer = Sealer(PublicHalf(tenant.name, pair.number, pair.public, at), new_key())
        raw = self.desk.event("ticket.replied", "ticket 20", **data)
        self.desk.said.append(raw)
        message = sealer.message(parcel_of(raw))
        said = {name[3:]: value.decode() for name, value in message.headers if name.startswith("ce_")}
        self.adversary.overheard.append((said, message.value))
        with Opening(self.house.pairs, self.house.tenants).batch() as opened:
            self.house.intake.take([parcel_sealed(said, message.value, None, opened)], at=at)
        self.copied()

    def end_pairs(self) -> None:
        """Let the pair go to which was sealed: its topic is cleared."""
        pairs, at = Pairs(self.house.keys, self.house.roots, NO_GRACE), datetime.now(UTC) + timedelta(seconds=1)
        pairs.turn(self.desk.tenant.id, at=at)
        cleared = Extent("desk", ThingId(self.desk.tenant.id), 0, start=9, end=9)
        assert pairs.step([cleared], cluster="test", at=at + timedelta(seconds=1)) == 1
        self.copied()

    def end_news(self) -> None:
        """Let the deadline of whatever recipients have not answered come."""
        with self.house.keys.transaction() as cursor:
            assert Outbox(Tree(cursor, self.house.roots)).close(at=datetime.now(UTC) + timedelta(days=400)).news > 0
        self.copied()

    def turn(self, *, grace: timedelta) -> list[int]:
        turning = Turning(self.house.keys, self.house.roots, now)
        turning.turn()
        self.copied()
        destroyed = turning.destroy_older(grace=grace)
        epochs.certify_destroyed(self.house.keys, self.house.certifying.recertify, at=now() + timedelta(seconds=1))
        self.copied()
        return destroyed

    def standing(self) -> list[dict[str, Any]]:
        """Read the certificates as they were issued last."""
        standing, tenant = self.house.certifying.standing, self.desk.tenant.id
        return [standing(tenant, certificate["certificate_id"]) for certificate in self.certificates]

    def tell_what_happens(self) -> None:
        """Fill the house: people, their tickets in every kind of trouble, files, what cannot be taken, a topic."""
        dies, lives, tell = self.dies, self.lives, self.tell
        self.house.recipients.add(self.desk.tenant.id, "crm", WANTED)
        tell("agent.created", id=900, name=lives("agent"), email=f"{lives('agentmail')}@example.org")
        ann, bob = {"id": dies("annid"), "email": f"{dies('annmail')}@example.org"}, {"id": 2}
        tell("contact.created", **ann, name=dies("ann"), phone="+49 30 5550101")
        tell("contact.created", **bob, name=dies("bobformer"), email=f"{lives('bobmail')}@example.org")
        tell("contact.rectified", **bob, name=lives("bob"))
        for number, name in ((3, dies("cy")), (4, lives("dee")), (5, lives("eve")), (6, dies("fay")), (7, dies("gus")),
                             (8, dies("hal")), (9, lives("ivy")), (10, dies("jon"))):  # fmt: skip
            tell("contact.created", id=number, name=name)

        tell("ticket.opened", id=20, requester_id=ann["id"], subject=dies("annsubject"), description=dies("anntext"))
        tell("ticket.replied", ticket_id=20, id=1, body=dies("byagent"), user_id=900, incoming=False)
        tell("ticket.replied", ticket_id=20, id=2, body=dies("bybob"), user_id=2, incoming=True)
        tell("ticket.attachment_added", ticket_id=20, id=1, name=dies("annfilename"))
        self.attach(1, dies("annfile"))
        self.publish_sealed(ticket_id=20, id=3, body=dies("annsealed"))
        tell("category.posted", id=1, name=lives("category"))
        tell("forum.posted", id=1, forum_category_id=1, name=lives("forum"))
        tell("topic.posted", id=1, forum_id=1, user_id=ann["id"], title=dies("anntopic"), message=dies("annpost"))
        tell("comment.posted", id=1, topic_id=1, user_id=2, body=lives("bobcomment"))

        tell("ticket.opened", id=24, requester_id=2, subject=lives("bobsubject"), description=lives("bobtext"))
        tell("ticket.replied", ticket_id=24, id=4, body=dies("deletedreply"), user_id=900)
        tell("ticket.replied", ticket_id=24, id=5, body=dies("editedreply"), user_id=900)
        tell("ticket.replied", ticket_id=24, id=6, body=lives("otherreply"), user_id=900)
        tell("ticket.attachment_added", ticket_id=24, id=2, name=lives("bobfilename"))
        self.attach(2, lives("bobfile"))
        tell("ticket.opened", id=23, requester_id=2, subject=dies("purgedsubject"))
        tell("ticket.replied", ticket_id=23, id=7, body=dies("purgedreply"), user_id=900)

        tell("ticket.opened", id=21, requester_id=3, subject=dies("cybeforemove"))
        tell("ticket.updated", id=21, requester_id=4)
        tell("ticket.replied", ticket_id=21, id=8, body=lives("deeaftermove"), user_id=900)
        tell("ticket.opened", id=22, requester_id=5, subject=dies("evebeforemove"))
        tell("ticket.updated", id=22, requester_id=6)
        tell("ticket.replied", ticket_id=22, id=9, body=dies("fayaftermove"), user_id=900)
        tell("ticket.opened", id=25, requester_id=10, subject=dies("jonmergedticket"))
        tell("ticket.opened", id=26, requester_id=2, subject=lives("bobmergedticket"))
        tell("ticket.merged", primary_id=26, ticket_ids=[25])

        # What cannot be taken: for somebody who goes, and for somebody who stays.
        tell("ticket.replied", taken=False, ticket_id=999, body=dies("waiting"), from_email=ann["email"])
        tell("ticket.rated", taken=False, ticket_id=24, rating=9_999, feedback=lives("badrating"))

    def forget(self) -> None:
        """Shred, purge, erase one reply, edit another, move, merge."""
        self.tell("ticket.entry_deleted", ticket_id=24, id=4)
        self.tell("ticket.entry_edited", ticket_id=24, id=5, body=self.lives("newreply"))
        self.tell("contact.merged", primary_contact_id=8, secondary_contact_ids=[7])
        self.tell("contact.merged", primary_contact_id=2, secondary_contact_ids=[9])
        self.shred(Kind.PERSON, f"{STEM}annid")
        self.shred(Kind.TICKET, "23")
        # Of two moved tickets the one loses its old requester, the other its new one.
        for person in ("3", "6", "7", "10"):
            self.shred(Kind.PERSON, person)
        self.end_pairs()
        self.end_news()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    data = tmp_path_factory.mktemp("adversary") / "data"
    configured = Settings.read(data, {})
    with serving(configured, extra=ARCHIVING) as endpoints, house(configured, endpoints) as opened:
        ledger = configured.ledger / "ledger.jsonl"
        adversary = Adversary(endpoints, blobs=data / "blobs", ledger=ledger)
        disks = [RawCopies(data / "log", endpoints.log_dsn), RawCopies(data / "keys", endpoints.keys_dsn)]
        yield Story(Desk(opened), adversary, disks)


def _words(opened: Opened) -> set[bytes]:
    return set(WORD.findall(opened.text()))


def test_the_adversary_overlooks_no_column_of_the_key_database(story: Story) -> None:
    assert unread_columns(story.house.endpoints.keys_dsn) == set()


def test_nothing_of_the_dead_opens_and_everything_of_the_living_does(story: Story) -> None:
    house, adversary, roots = story.house, story.adversary, story.house.settings.roots
    story.tell_what_happens()
    assert _words(adversary.opens(living_keys(roots))) == story.dying | story.living - {f"{STEM}newreply".encode()}
    story.forget()
    gone = _gone(story)

    # Shredded, and turned: but the old root lives, and with it every copy of before. The certificates say so.
    kept = living_keys(roots)
    assert _words(adversary.opens(kept)) == story.dying | story.living
    assert story.turn(grace=timedelta(hours=24)) == []
    opened = adversary.opens(living_keys(roots))
    assert _words(opened) == story.dying | story.living
    assert all(adversary.leads(opened, reference, ledger=False) for reference in gone)
    assert [certificate["unrecoverable_since"] for certificate in story.standing()] == [None] * len(story.certificates)

    # The old root is destroyed.
    before = datetime.now(UTC)
    assert story.turn(grace=NO_GRACE) == [1, 2]
    living = living_keys(roots)
    opened = adversary.opens(living)
    assert _words(opened) == story.living
    for certificate in story.standing():
        certificates.verify(certificate, (house.settings.signing / "certificate.pub").read_bytes())
        since = datetime.fromisoformat(certificate["unrecoverable_since"])
        assert before <= since <= datetime.now(UTC) + timedelta(seconds=2)
        assert "if no copy of the root folder exists" in certificate["meaning_of_destruction"]
    # ... on which the certificates rest: whoever kept it opens all.
    assert _words(adversary.opens([*living, *kept])) == story.dying | story.living

    _assert_no_index_leads_to_a_history(story, opened, gone)
    _assert_disks_say_no_more(story, living, kept)


def _gone(story: Story) -> list[Reference]:
    """Name what upstream called the dead, as anybody could guess it."""
    mail, phone = Reference(Kind.EMAIL, f"{STEM}annmail@example.org"), Reference(Kind.PHONE, "+49 30 5550101")
    people = [Reference(Kind.PERSON, value) for value in (f"{STEM}annid", "3", "6", "7", "8", "10")]
    return [mail, phone, *people, *(Reference(Kind.TICKET, number) for number in ("20", "23", "22"))]


def _assert_no_index_leads_to_a_history(story: Story, opened: Opened, gone: list[Reference]) -> None:
    """An index can be guessed, and found in old copies; where it led cannot be read any more, but from the ledger."""
    adversary = story.adversary
    assert all(adversary.saw(opened, reference) for reference in gone)
    assert [adversary.leads(opened, reference, ledger=False) for reference in gone] == [set()] * len(gone)
    dead = {id_ for fences in opened.fences for id_ in fences.targets}
    assert len(dead) == len(story.certificates) + 1, "two of the people were one"
    assert dead.isdisjoint(inside for _, inside in opened.entries)
    assert adversary.leads(opened, Reference(Kind.PERSON, "2"))

    # The ledger names whom its fences were, as SECURITY says, for as long as the key of its quarter lives.
    assert adversary.leads(opened, gone[0])
    without = living_keys(story.house.settings.roots, without=lambda path: path.stem.startswith("ledger-"))
    assert not any(adversary.leads(adversary.opens(without), reference) for reference in gone)


def _assert_disks_say_no_more(story: Story, living: list[bytes], kept: list[bytes]) -> None:
    """What was dug out of pages and WAL is what the backups held, and opens nothing more; no word is there in clear."""
    log, keys = (list(disk.texts()) for disk in story.disks)
    forms = _forms(STEM)
    assert not [form for text in (*log, *keys) for form in forms if form in text]
    assert sum(b"acme" in text for text in log) > 1, "a word that stands in clear is found"

    adversary = story.adversary
    seals, wrapped = {seal for text in log for seal in seals_in(text)}, wrapped_in(keys, adversary.ids)
    assert {seal for seal in adversary.seals if header_of(seal).type != WORDS_TYPE} <= seals
    assert {lock.content for lock in adversary.locks if lock.tells in ("key", "leaf")} <= wrapped.keys()
    adversary.seals |= seals
    for roots, words in ((living, story.living), ([*living, *kept], story.living | story.dying)):
        opened = adversary.opens(roots)
        known = {material for materials in opened.keys.values() for material in materials}
        dug = unwrapped(wrapped, adversary.tenants, opened.keys, roots, epochs=EPOCHS)
        assert known <= dug, "what was dug out opens"
        assert _words(adversary.opens([*roots, *dug])) == words
