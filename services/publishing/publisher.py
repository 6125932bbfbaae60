"""The client for upstream services: builds an event, looks at it as intake will, and sends it.

    with Publisher(broker, source="/crm", tenant="acme") as publisher:
        publisher.publish("sealdesk.ticket.opened.v1", "ticket 20", {"subject": "..."}, time=now, id="crm-1")

It needs a broker and no house: no database and no data folder; to seal, the public half of the desk's pair.

Rules: what is no valid event raises before anything is sent, and the error repeats nothing of it. Records of one thing
arrive in the order of their publishing. What was published is safe when `flush` has returned; with receipts, when
they have come. One publisher serves one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import orjson

from domain.errors import RecordInvalid, SettingsWrong
from services.kafka.connecting import Broker
from services.kafka.topics import RECEIPTS, RECORDS
from services.publishing.line import STALE_SECONDS, Line, Message, Producer, connected
from services.publishing.receiving import RESEND_SECONDS, Awaiting, NamedReceipt, Receipted
from services.publishing.sealing import Sealer
from services.publishing.sending import Mode, message_of, taking
from services.records import Parcel, parcel_of


class Publisher:
    """Publishes for one source of one tenant. Use it in a `with` block: it connects at its start and flushes at its
    end, unless an error ended the block.

    seal      the topic holds no plaintext; `public_half` is the desk's file (`sealdesk keys public`), `secret` a file
              of this publisher alone, which the first use makes, and `signed_by` the desk's `certificate.pub`;
              `unchecked` does without that
    receipts  read what becomes of each record, and send again what the desk says nothing about
    """

    def __init__(
        self,
        broker: Broker,
        *,
        source: str,
        tenant: str,
        topic: str = RECORDS,
        mode: Mode = "structured",
        seal: bool = False,
        public_half: Path | None = None,
        secret: Path | None = None,
        signed_by: Path | None = None,
        unchecked: bool = False,
        receipts: bool = False,
        receipts_topic: str = RECEIPTS,
        resend_seconds: float = RESEND_SECONDS,
        stale_seconds: float = STALE_SECONDS,
        connect: Callable[[], Producer] | None = None,
    ) -> None:
        self._broker = broker
        self._source = source
        self._tenant = tenant
        self._topic = topic
        self._stale_seconds = stale_seconds
        self._connect = connect or partial(connected, broker, stale_seconds)
        self._receipts = (receipts_topic, resend_seconds) if receipts else None
        self._write: Callable[[Parcel], Message] = partial(message_of, mode=mode)
        if seal:
            if public_half is None or secret is None:
                raise SettingsWrong("Sealing needs the desk's public half and a file for this publisher's secret.")
            self._write = Sealer.read(public_half, secret, signed_by, unchecked=unchecked).message
        elif public_half is not None or secret is not None:
            raise SettingsWrong("A public half and a secret are for sealing: say seal=True.")
        self._open = ExitStack()
        self._line: Line | None = None
        self._awaiting: Awaiting | None = None

    def __enter__(self) -> Publisher:
        with ExitStack() as opened:
            with taking(self._broker, self._topic):
                self._line = Line(self._connect, self._topic, self._stale_seconds)
                opened.callback(self._line.close)
            if self._receipts is not None:
                topic, resend_seconds = self._receipts
                self._awaiting = Awaiting(self._line, self._broker, topic, resend_seconds=resend_seconds)
                opened.callback(self._awaiting.close)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            if kind is None:
                self.flush()

    def publish(
        self, type: str, subject: str | None, data: Mapping[str, Any], *, time: datetime | str, id: str | None = None
    ) -> str:
        """Send one event, and return its id.

        `subject` is the upstream reference, as in `ticket 20`; `time` is when it happened, with its zone. Give as `id`
        what names this event upstream: then publishing it again is safe, after a crash of yours, too.

        Raises:
            RecordInvalid: it is no valid event; a code, and the path of a field as sealdesk declares it.
            BrokerUnavailable: the broker does not answer or refuses, or no receipts come.
        """
        id = str(uuid4()) if id is None else id
        event = {
            "specversion": "1.0",
            "id": id,
            "source": self._source,
            "type": type,
            "tenant": self._tenant,
            "time": time.isoformat() if isinstance(time, datetime) else time,
            "data": data,
        }
        if subject is not None:
            event["subject"] = subject
        message = self._write(parcel_of(_json(event)))
        with taking(self._broker, self._topic):
            if self._awaiting is not None:
                self._awaiting.send(message, id)
            else:
                self._opened_line().send(message)
        return id

    def flush(self) -> None:
        """Wait until every replica has every record that was published.

        Raises:
            BrokerUnavailable: the broker does not answer or refuses. Publish again whatever was not flushed.
        """
        with taking(self._broker, self._topic):
            self._opened_line().settle(0)

    def receipts(self, seconds: float = 0.0) -> list[NamedReceipt]:
        """Give the receipts that have come since they were asked for last, or wait so long for the first."""
        with taking(self._broker, self._topic):
            return self._waiting().fresh(seconds)

    def wait_for_receipts(self, seconds: float) -> Receipted:
        """Wait until every record has its receipt, at most so long, and say how all of them fared so far."""
        self.flush()
        with taking(self._broker, self._topic):
            return self._waiting().wait(seconds)

    def _opened_line(self) -> Line:
        if self._line is None:
            raise SettingsWrong("A publisher sends within its block: with Publisher(...) as publisher.")
        return self._line

    def _waiting(self) -> Awaiting:
        if self._awaiting is None:
            raise SettingsWrong("This publisher reads no receipts: say receipts=True, and use it in its block.")
        return self._awaiting


def _json(event: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:
        raise RecordInvalid("wrong_field", "data") from None
