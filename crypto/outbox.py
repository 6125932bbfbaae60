"""The outbox: what recipients have to be told, sealed until the last of them has heard it.

After a shred nobody can say any more what upstream called the person, so the ids are written down before: sealed under
an outbox key, one a news, that dies with the last acknowledgement or at the deadline. News is held until its shred is
past the point of no return, and dropped where it is abandoned.

    page = nonce (12) | ciphertext | tag (16), AES-256-GCM under the outbox key; tenant, news and page number are
           associated data. plaintext = JSON length (4, big endian) | JSON list of texts | zeros up to the Padme length
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import orjson
from psycopg import Cursor
from psycopg.rows import DictRow

from crypto import accounts
from crypto.keystore import rows_of
from crypto.recipients import SQL, STATUSES, Kind, Recipient, Recipients, is_signed
from crypto.sealing import padme
from crypto.tree import Owner, Tree
from crypto.wrapping import Key, context, unwrap, wrap
from domain.errors import KeyLost, SealBroken
from domain.ids import TenantId

#: How long the ids of a news are kept at most, where no setting says otherwise.
DAYS = 30
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Telling:
    """One record for one recipient. `id` stays the same however often it is sent; `secret` is the recipient's."""

    id: UUID
    news: UUID
    tenant: TenantId
    kind: Kind
    at: datetime
    page: int
    pages: int
    recipient: UUID
    name: str
    public_key: bytes | None
    secret: bytes = field(repr=False)
    things: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a recipient says about one record, with its signature."""

    record: UUID
    status: str
    mac: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Closed:
    """How many outbox keys were destroyed, and for how many of these a record had never been sent."""

    news: int
    unsent: int


class Outbox:
    """The news of all tenants, inside one transaction of the key database."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._cursor = tree.cursor
        self._keys: dict[UUID, Key] = {}

    # -- before it may be told ----------------------------------------------------------------------------------

    def begin(
        self,
        tenant: TenantId,
        kind: Kind,
        *,
        shred: UUID | None = None,
        position: int | None = None,
        person: UUID | None = None,
        at: datetime,
    ) -> tuple[UUID, Owner]:
        """Begin a news about a shred, or about a fact of a person, with a key of its own.

        What was held of that shred, and not released, goes.
        """
        if shred is not None:
            drop(self._cursor, shred)
        key = self._tree.new_wrapping_key(tenant, "outbox")
        news = uuid4()
        about = {"shred": shred, "position": position, "person": person}
        given = {"news_id": news, "tenant": tenant, "kind": kind, "key_id": key.id, "at": at}
        self._cursor.execute(SQL.insert_news.sql, {**given, **about})
        return news, key

    def open_key(self, news: UUID) -> Owner | None:
        """Open the key of a news once more; None where the news was dropped.

        Raises:
            KeyLost: the news is there, and its key is not.
        """
        rows = rows_of(self._cursor, SQL.key_of_news.sql, news_id=news)
        if not rows:
            return None
        if rows[0]["wrapped"] is None:
            raise KeyLost("the key of a news is missing")
        return Owner(rows[0]["key_id"], self._tree.unwrap_row(rows[0]))

    def add_page(self, tenant: TenantId, news: UUID, key: Owner, page: int, things: Sequence[str]) -> None:
        """Seal some of the things that a news names."""
        payload = orjson.dumps(list(things))
        plain = len(payload).to_bytes(_LENGTH_BYTES, "big") + payload
        plain += bytes(padme(len(plain)) - len(plain))
        sealed = wrap(key.key, plain, ends=_ends(tenant, news, page))
        self._cursor.execute(SQL.insert_page.sql, {"news_id": news, "page": page, "sealed": sealed})

    def cut(self, news: UUID, page: int) -> None:
        """Take back every page from this one on, and whom the news was addressed to."""
        self._cursor.execute(SQL.cut_tellings.sql, {"news_id": news})
        self._cursor.execute(SQL.cut_pages.sql, {"news_id": news, "page": page})

    def address(self, news: UUID, pages: int, recipients: Sequence[Recipient]) -> None:
        """Say who is to be told, with one record a recipient and page."""
        pairs = [(page, recipient.id) for recipient in recipients for page in range(pages)]
        self._cursor.execute(
            SQL.insert_tellings.sql,
            {
                "telling_ids": [uuid4() for _ in pairs],
                "news_ids": [news] * len(pairs),
                "pages": [page for page, _ in pairs],
                "recipients": [recipient for _, recipient in pairs],
            },
        )

    def leave_unnamed(self, news: UUID, things: int) -> None:
        """Note how many things the news does not name, because changed seals hide what they are called."""
        self._cursor.execute(SQL.leave_unnamed.sql, {"news_id": news, "unnamed": things})

    def wanting(self, tenant: TenantId, kind: Kind) -> list[Recipient]:
        """List the recipients of a tenant who are to be told of such news."""
        return [recipient for recipient in Recipients(self._tree).of(tenant) if recipient.wants(kind)]

    def release(self, news: UUID, *, deadline: datetime) -> None:
        """Let a news be told."""
        self._cursor.execute(SQL.release_news.sql, {"news_id": news, "deadline": deadline})

    # -- telling ------------------------------------------------------------------------------------------------

    def to_send(self, limit: int, tenants: Collection[UUID] | None = None) -> list[Telling]:
        """Open what is to be sent, in the order in which it came to pass; with `tenants`, of these alone.

        News of which something does not open, and whatever is for a recipient whose secret does not, keeps nobody
        else's back: it stays unsent, and is missed at its deadline.
        """
        # News and recipients: both have ids of their own.
        broken: set[UUID] = set()
        given = {"limit": limit, "tenants": None if tenants is None else list(tenants)}
        while rows := rows_of(self._cursor, SQL.to_send.sql, without=list(broken), passed_over=list(broken), **given):
            found = len(broken)
            if tellings := self._opened(rows, broken):
                return tellings
            if len(broken) == found:
                break
        return []

    def passed_over(self, tenants: Collection[UUID]) -> int:
        """Count what is to be sent for other tenants than these."""
        return int(rows_of(self._cursor, SQL.passed_over.sql, tenants=list(tenants))[0]["records"])

    def _opened(self, rows: Sequence[DictRow], broken: set[UUID]) -> list[Telling]:
        opened: dict[tuple[UUID, int], tuple[str, ...]] = {}
        tellings: list[Telling] = []
        for row in rows:
            place = (row["news_id"], row["page"])
            if not broken.isdisjoint((row["news_id"], row["recipient_id"])):
                continue
            try:
                secret = self._secret(row["secret_id"], row["tenant"], row["secret_epoch"], row["secret_wrapped"])
            except SealBroken:
                broken.add(row["recipient_id"])
                continue
            if place not in opened:
                try:
                    opened[place] = self._things(row)
                except SealBroken:
                    broken.add(row["news_id"])
                    continue
            tellings.append(
                Telling(
                    row["telling_id"],
                    row["news_id"],
                    TenantId(row["tenant"]),
                    row["kind"],
                    row["made_at"],
                    row["page"],
                    row["pages"],
                    row["recipient_id"],
                    row["name"],
                    None if row["public_key"] is None else bytes(row["public_key"]),
                    secret,
                    opened[place],
                )
            )
        return tellings

    def _things(self, row: DictRow) -> tuple[str, ...]:
        if row["key_id"] not in self._keys:
            self._keys[row["key_id"]] = self._tree.unwrap_row(row)
        ends = _ends(row["tenant"], row["news_id"], row["page"])
        plain = unwrap(self._keys[row["key_id"]], row["sealed"], ends=ends)
        length = int.from_bytes(plain[:_LENGTH_BYTES], "big")
        return tuple(orjson.loads(plain[_LENGTH_BYTES : _LENGTH_BYTES + length]))

    def _secret(self, id_: UUID, tenant: UUID, epoch: int, wrapped: bytes) -> bytes:
        """Open the secret of a recipient. Raises SealBroken."""
        if id_ not in self._keys:
            self._keys[id_] = self._tree.unwrap_row(
                {"key_id": id_, "tenant": tenant, "epoch": epoch, "wrapped": wrapped}
            )
        return self._keys[id_].material

    def mark_sent(self, tellings: Sequence[UUID], *, at: datetime) -> None:
        """Note that every replica has these records."""
        self._cursor.execute(SQL.mark_sent.sql, {"telling_ids": list(tellings), "at": at})

    def send_again(self, recipient: Recipient) -> int:
        """Let whatever a recipient has not answered go out once more. Returns how many records that is."""
        return len(rows_of(self._cursor, SQL.send_again.sql, recipient_id=recipient.id))

    def send_unanswered(self, *, sent_before: datetime) -> int:
        """Let whatever was sent before that moment, and is not answered, go out once more. Returns how many records."""
        return self._cursor.execute(SQL.send_unanswered.sql, {"sent_before": sent_before}).rowcount

    # -- answers ------------------------------------------------------------------------------------------------

    def answer(self, answers: Sequence[Answer], *, at: datetime) -> int:
        """Note what recipients answered, if it is theirs. Returns how many answers are nobody's, or forged.

        So is the answer of a recipient whose secret does not open: nobody can tell.
        """
        asked = {
            row["telling_id"]: row
            for row in rows_of(self._cursor, SQL.asked.sql, telling_ids=list({answer.record for answer in answers}))
        }
        said: dict[UUID, str] = {}
        refused = 0
        for answer in answers:
            row = asked.get(answer.record)
            if row is None or answer.status not in STATUSES or not self._is_theirs(row, answer):
                refused += 1
            elif said.get(answer.record, "failed") == "failed":
                said[answer.record] = answer.status
        if said:
            given = {"telling_ids": list(said), "statuses": list(said.values()), "at": at}
            self._cursor.execute(SQL.answer.sql, given)
            self._cursor.execute(SQL.look_again.sql, {"news_ids": list({asked[id_]["news_id"] for id_ in said})})
        return refused

    def _is_theirs(self, row: DictRow, answer: Answer) -> bool:
        try:
            secret = self._secret(row["key_id"], row["tenant"], row["epoch"], row["wrapped"])
        except SealBroken:
            return False
        return is_signed(secret, answer.record, answer.status, answer.mac)

    def close(self, *, at: datetime) -> Closed:
        """Destroy the keys of news that everybody has answered, or whose deadline is over, and what they sealed."""
        rows = rows_of(self._cursor, SQL.close_news.sql, at=at)
        return Closed(len(rows), sum(row["unsent"] for row in rows))

    def to_recertify(self, limit: int) -> dict[UUID, UUID]:
        """Find news whose certificates may say less than is known, as news -> shred."""
        return {row["news_id"]: row["shred"] for row in rows_of(self._cursor, SQL.to_recertify.sql, limit=limit)}

    def looked(self, news: Sequence[UUID]) -> None:
        """Note that the certificates of these say all that is known."""
        self._cursor.execute(SQL.looked.sql, {"news_ids": list(news)})

    def standing(
        self, tenant: TenantId, *, at: datetime, recipient: UUID | None = None, shred: UUID | None = None
    ) -> list[DictRow]:
        """Say who of a tenant's recipients was told what, and what became of it; one row a recipient and news."""
        given = {"tenant": tenant, "recipient": recipient, "shred": shred, "at": at}
        return rows_of(self._cursor, SQL.standing.sql, **given)


def drop(cursor: Cursor[DictRow], shred: UUID) -> None:
    """Drop what was held for a shred that is not carried out, and its key."""
    cursor.execute(SQL.drop_news.sql, {"shred": shred})


def release_of(cursor: Cursor[DictRow], shred: UUID, *, deadline: datetime) -> None:
    """Let the news of a shred be told, in the transaction that destroys the key; it goes where nobody is to be told."""
    cursor.execute(SQL.drop_untold.sql, {"shred": shred})
    cursor.execute(SQL.release_news_of.sql, {"shred": shred, "deadline": deadline})


def stop_following(cursor: Cursor[DictRow]) -> None:
    """Let nobody write news of the log down until this transaction ends; whoever is at it is waited for."""
    rows_of(cursor, SQL.followed.sql)


def overtake(cursor: Cursor[DictRow], people: Sequence[UUID], *, at: datetime) -> None:
    """End every news of the log about people who are shredded in this transaction, with its key.

    `stop_following` comes before: whoever follows the log meanwhile could still read what they are called.
    """
    cursor.execute(SQL.overtake_news.sql, {"people": list(people), "at": at})


def told_of(cursor: Cursor[DictRow], shred: UUID, *, topic_days: int) -> accounts.Body:
    """Say for a certificate who was to be told, how many acknowledged, and until when the keys live.

    `topic_days` is how long the topic keeps what recipients without a key read in clear.
    """
    [row] = rows_of(cursor, SQL.told_of_shred.sql, shred=shred)
    if not row["news"]:
        return accounts.told_entry()
    since: datetime | None = row["in_clear_since"]
    return accounts.told_entry(
        recipients=row["recipients"],
        acknowledged=row["acknowledged"],
        unnamed=int(row["unnamed"]),
        deadline=row["deadline"],
        outbox_key_destroyed_at=row["key_destroyed_at"],
        in_clear=row["in_clear"],
        in_clear_until=None if since is None else since + timedelta(days=topic_days),
    )


def _ends(tenant: UUID, news: UUID, page: int) -> bytes:
    return context(b"sealdesk/outbox/1", tenant.bytes, news.bytes, page.to_bytes(4, "big"))
