"""Telling: news to its recipients on the topic `sealdesk.privacy`, each record again until every replica has it.

A record is a CloudEvent in structured mode for one recipient, under the recipient's inside id as its key, so that each
is told in the order in which things came to pass:

    id          of the record: it stays the same however often it is sent; the answer names it
    type        sealdesk.privacy.erased.v1, content_erased, rectified, restricted, unrestricted
    tenant, recipient     names
    time        when it came to pass
    data        {"news": ID, "kind": KIND, "things": ["contact 432", ...], "page": 1, "pages": 1}
    mac         64 hexadecimal digits: signed with the recipient's secret

For a recipient with a public key `data` is HPKE ciphertext in `data_base64`. Both see `crypto.recipients`.

Rule: a record counts as sent when every replica has it; what a crash leaves unmarked is sent once more, and so is what
is not answered for long: a topic is no place to keep things.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from crypto.canonical import canonical
from crypto.keystore import KeyStore
from crypto.outbox import Closed, Outbox
from crypto.outbox import Telling as Record
from crypto.recipients import seal_news, sign_news
from crypto.roots import Roots
from crypto.tree import Tree
from services.certifying import Certifying
from services.kafka.connecting import Broker, told
from services.news import News
from services.publishing.line import Line, Message, Producer, connected
from services.tenants import Tenants

TOPIC = "sealdesk.privacy"
SOURCE = "sealdesk"
SEALED = "application/vnd.sealdesk.sealed-news"
#: Records that are opened, sent and marked together.
BATCH = 500
#: Certificates that are issued anew in one transaction.
CERTIFICATES = 100
#: An acknowledgement takes milliseconds, the election of a leader seconds.
STALE_SECONDS = 30.0
#: What is not answered for so long is sent again, or after half the time that the topic keeps it.
AGAIN = timedelta(days=3)
_HEADERS = [("content-type", b"application/cloudevents+json")]


@dataclass(frozen=True, slots=True)
class Told:
    """What one step did: news of the log, records sent, news that ended, certificates issued anew.

    `missed` counts news whose deadline came before it was ever sent: somebody has to tell these recipients by hand.
    `passed_over` counts records for tenants that nobody knows, and facts of people whose keys or seals were changed.
    """

    followed: int = 0
    sent: int = 0
    closed: int = 0
    missed: int = 0
    recertified: int = 0
    passed_over: int = 0


class Telling:
    """Tell recipients. All that it knows stands in the outbox, so it may die anywhere.

    Without a broker nothing is sent, and keys die all the same when their time has come.
    """

    def __init__(
        self,
        broker: Broker | None,
        keys: KeyStore,
        roots: Roots,
        tenants: Tenants,
        news: News,
        certifying: Certifying,
        *,
        clock: Callable[[], datetime],
        again: timedelta = AGAIN,
        topic: str = TOPIC,
        connect: Callable[[], Producer] | None = None,
    ) -> None:
        self._broker = broker
        self._keys = keys
        self._roots = roots
        self._tenants = tenants
        self._news = news
        self._certifying = certifying
        self._clock = clock
        self._again = again
        self._topic = topic
        self._connect = connect

    def step(self) -> Told:
        """Do what is due: destroy keys, issue certificates anew, write news of the log down, send what is not sent.

        Keys die first, whatever stops the rest.

        Raises:
            BrokerUnavailable: Kafka does not answer or refuses; everything else is done, and a later step sends.
        """
        closed = self.close()
        recertified = 0
        while due := self._certifying.recertify_told(CERTIFICATES):
            recertified += due
        unreadable: list[int] = []
        followed = self._news.follow(unreadable)
        self.send_unanswered()
        names = self._names()
        sent = self.send(names)
        with self._keys.transaction() as cursor:
            unknown = Outbox(Tree(cursor, self._roots)).passed_over(names)
        return Told(followed, sent, closed.news, closed.unsent, recertified, len(unreadable) + unknown)

    def close(self) -> Closed:
        """Destroy the keys of news that everybody has acknowledged, or whose deadline is over."""
        with self._keys.transaction() as cursor:
            return Outbox(Tree(cursor, self._roots)).close(at=self._clock())

    def send_unanswered(self) -> int:
        """Let what is not answered for long be sent again. Returns how many records that is."""
        with self._keys.transaction() as cursor:
            return Outbox(Tree(cursor, self._roots)).send_unanswered(sent_before=self._clock() - self._again)

    def send(self, names: Mapping[UUID, str]) -> int:
        """Send what is due for tenants that have a name. Returns how many records every replica has now."""
        if self._broker is None:
            return 0
        sent = 0
        while records := self._to_send(names):
            self._send(self._broker, [message_of(record, names[record.tenant]) for record in records])
            with self._keys.transaction() as cursor:
                Outbox(Tree(cursor, self._roots)).mark_sent([record.id for record in records], at=self._clock())
            sent += len(records)
        return sent

    def _send(self, broker: Broker, messages: Sequence[Message]) -> None:
        connect = self._connect or partial(connected, broker, STALE_SECONDS)
        doing = f"take news for the topic {self._topic}"
        with told(broker, doing), closing(Line(connect, self._topic, STALE_SECONDS)) as line:
            for message in messages:
                line.send(message)
            line.settle(0)

    def _to_send(self, tenants: Collection[UUID]) -> list[Record]:
        with self._keys.transaction() as cursor:
            return Outbox(Tree(cursor, self._roots)).to_send(BATCH, tenants)

    def _names(self) -> dict[UUID, str]:
        return {tenant.id: tenant.name for tenant in self._tenants.by_name(fresh=True).values()}


def again_after(topic_days: int) -> timedelta:
    """Say after how long what is not answered is sent again, where topics keep records for so many days."""
    return min(AGAIN, timedelta(days=topic_days) / 2)


def message_of(record: Record, tenant: str) -> Message:
    """Write one record of a tenant of that name as its recipient will read it."""
    type_ = f"sealdesk.privacy.{record.kind}.v1"
    data: dict[str, Any] = {
        "news": str(record.news),
        "kind": record.kind,
        "things": list(record.things),
        "page": record.page + 1,
        "pages": record.pages,
    }
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(record.id),
        "source": SOURCE,
        "type": type_,
        "time": record.at.isoformat(),
        "tenant": tenant,
        "recipient": record.name,
    }
    if record.public_key is None:
        content = canonical(data)
        event |= {"datacontenttype": "application/json", "data": data}
    else:
        names = {"tenant": tenant, "recipient": record.name}
        sealed = seal_news(record.public_key, orjson.dumps(data), record=record.id, type_=type_, **names)
        content = base64.b64encode(sealed)
        event |= {"datacontenttype": SEALED, "data_base64": content.decode()}
    event["mac"] = sign_news(record.secret, event, content).hex()
    return Message(record.recipient.bytes, orjson.dumps(event), list(_HEADERS), record.id.bytes)
