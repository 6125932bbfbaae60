"""What is done with each type of fact, and why: the declarations behind data map, records of processing and notices.

Rule: every type of the catalogue stands in exactly one activity. A type that stands in none, or in two, stops the
import of this module: a new fact cannot be listed half.

A legal basis is a default (Article 6(1) GDPR, by letter). The controller may put another one in its place; nothing
here decides what is lawful for whom. Whose a fact is and when it is gone is not declared here but read off the
catalogue, by `services.describing.lifetimes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from domain import agents, articles, calls, chats, companies, contacts, declarations, discussions, forums, tickets
from domain.catalogue import CATALOGUE
from domain.fact import Record
from domain.personal import Category, Kind


class Basis(StrEnum):
    """The letters of Article 6(1)."""

    CONSENT = "a"
    CONTRACT = "b"
    LEGAL_OBLIGATION = "c"
    VITAL_INTERESTS = "d"
    PUBLIC_TASK = "e"
    LEGITIMATE_INTERESTS = "f"


@dataclass(frozen=True, slots=True)
class Purpose:
    """What something is done for. `interest` is the interest that is pursued, where the basis is letter f."""

    code: str
    aim: str
    basis: Basis
    interest: str = ""


KNOW = Purpose("know_people", "To know who asks, and how to reach that person.", Basis.CONTRACT)
SITUATION = Purpose(
    "know_situation",
    "To answer with what is known of somebody's situation, such as job, company, language and tags.",
    Basis.LEGITIMATE_INTERESTS,
    "answers that fit the person who asks",
)
PORTRAIT = Purpose(
    "show_picture",
    "To show a picture beside a name.",
    Basis.LEGITIMATE_INTERESTS,
    "to recognise whom one writes with",
)
CONSENT = Purpose("show_consent", "To be able to show who consented to what, in which wording.", Basis.LEGAL_OBLIGATION)
ANSWER = Purpose("answer", "To answer what people ask, on whatever channel they ask it.", Basis.CONTRACT)
LISTEN = Purpose(
    "hear_ratings",
    "To hear how well people were answered, and to count it.",
    Basis.LEGITIMATE_INTERESTS,
    "a service that gets better",
)
ACCOUNT = Purpose(
    "account_for_time",
    "To account for the time that was spent on a ticket.",
    Basis.LEGITIMATE_INTERESTS,
    "to bill and to plan the work of the team",
)
RECORD = Purpose("record_calls", "To have what was said in a call at hand.", Basis.CONSENT)
TEAM = Purpose(
    "run_team",
    "To run the team: who is an agent, in which group, and in charge of what.",
    Basis.LEGITIMATE_INTERESTS,
    "a team that shares its work",
)
BUSINESS = Purpose(
    "know_companies",
    "To know for which company somebody asks.",
    Basis.LEGITIMATE_INTERESTS,
    "answers that fit the company's contract",
)
DISCUSS = Purpose(
    "discuss",
    "To let people discuss in forums what helps others, too.",
    Basis.LEGITIMATE_INTERESTS,
    "help that more than one person can use",
)
PUBLISH = Purpose(
    "publish_knowledge",
    "To write and publish articles that answer before anybody asks.",
    Basis.LEGITIMATE_INTERESTS,
    "help that more than one person can use",
)
WORDS = Purpose(
    "declare_words",
    "To say which words may stand in the clear, so that lists and counts need nothing personal.",
    Basis.LEGITIMATE_INTERESTS,
    "lists and counts without personal data",
)
RIGHTS = Purpose(
    "serve_rights",
    "To carry out what people ask for under Articles 15 to 22, shreds above all, and to be able to show it.",
    Basis.LEGAL_OBLIGATION,
)
MEASURE = Purpose(
    "measure_service",
    "To measure how well and how fast people are answered, without knowing who they are.",
    Basis.LEGITIMATE_INTERESTS,
    "a service that gets better",
)
OPERATE = Purpose(
    "take_in_once",
    "To take every record in once, lose none, and keep late records from bringing back who was shredded.",
    Basis.LEGITIMATE_INTERESTS,
    "a store that neither loses nor repeats",
)

PURPOSES: Mapping[str, Purpose] = MappingProxyType(
    {
        purpose.code: purpose
        for purpose in (
            KNOW,
            SITUATION,
            PORTRAIT,
            CONSENT,
            ANSWER,
            LISTEN,
            ACCOUNT,
            RECORD,
            TEAM,
            BUSINESS,
            DISCUSS,
            PUBLISH,
            WORDS,
            RIGHTS,
            MEASURE,
            OPERATE,
        )
    }
)


class People(StrEnum):
    """Whom data is about: the categories of data subjects."""

    CONTACTS = "contacts: people who write to the helpdesk, or are in copy"
    AGENTS = "agents: people of the team"
    OTHERS = "others whom a text mentions"

    @property
    def short(self) -> str:
        """Name the category, without saying who that is."""
        return self.value.partition(":")[0]


class Retention(StrEnum):
    """How long something is kept, by class. A controller may set a period for each."""

    PROFILE = "profile"
    PICTURE = "picture"
    CONSENT = "consent"
    CONVERSATION = "conversation"
    WITH_TICKET = "with_ticket"
    TALK = "talk"
    POST = "post"
    DESK_WORK = "desk_work"
    COMPANY = "company"
    WORDS = "words"


#: What each class means. No clock of sealdesk ends any of them by itself: upstream does, or an officer.
RETENTIONS: Mapping[Retention, str] = MappingProxyType(
    {
        Retention.PROFILE: "Until the person is shredded. What a rectification puts right is gone at once.",
        Retention.PICTURE: "Until the person is shredded.",
        Retention.CONSENT: "Until the person is shredded; a rectification of the profile leaves it.",
        Retention.CONVERSATION: "Until the ticket is shredded, or a person whose it is. An entry or a file also until"
        " it is edited or deleted.",
        Retention.WITH_TICKET: "Until the ticket is shredded, or a person whose it is.",
        Retention.TALK: "Until the call or chat is shredded, or a person whose it is.",
        Retention.POST: "Until the post is edited or deleted, by itself or with what it stands in, or its author is "
        "shredded.",
        Retention.DESK_WORK: "Until it is edited or deleted. Shredding an agent leaves the work, anonymous.",
        Retention.COMPANY: "Until the company or group is deleted.",
        Retention.WORDS: "For good: these are words, and no place for a person.",
    }
)


@dataclass(frozen=True, slots=True)
class Shown:
    """Where something can be seen: a read model, and the command that asks it."""

    model: str
    command: str


#: Without --reveal both show that a field is sealed, and with it they leave an access line.
CONTACTS = Shown("contacts", "query contacts")
TICKETS = Shown("tickets", "query tickets")
CALLS = Shown("tickets", "query calls")
CHATS = Shown("tickets", "query chats")
FORUMS = Shown("forums", "query forums")
ARTICLES = Shown("articles", "query articles")
COMPANIES = Shown("companies", "query companies")
GROUPS = Shown("groups", "query groups")
#: Counts, times and words only.
REPORTS = Shown("reports", "query reports")
ERASURES = Shown("erasures", "query erasures")


class Recipient(StrEnum):
    """Who gets to see something, by category. The controller's own recipients come from its file."""

    OFFICERS = "officers of the controller who reveal a field; each reveal has a reason and leaves an access line"
    QUERYING = "people of the controller who query without revealing: clear fields and inside ids"
    ANALYSTS = "analysts: counts, durations and rows without people; agents under pseudonyms"


class Source(StrEnum):
    """From whom something is known (Article 14)."""

    PERSON = "the person"
    TEAM = "the team of the helpdesk"
    OTHERS = "others who wrote to the helpdesk and named the person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What is done with some types of fact. `by_category` names other purposes for fields of some categories."""

    code: str
    title: str
    records: tuple[type[Record], ...]
    people: tuple[People, ...]
    purpose: Purpose
    retention: Retention
    sources: tuple[Source, ...]
    by_category: Mapping[Category, Purpose] = field(default_factory=dict)
    shown: tuple[Shown, ...] = ()
    recipients: tuple[Recipient, ...] = (Recipient.OFFICERS, Recipient.QUERYING)

    def purpose_of(self, category: Category) -> Purpose:
        """Say what a field of this category is kept for."""
        return self.by_category.get(category, self.purpose)

    @property
    def purposes(self) -> tuple[Purpose, ...]:
        """Name every purpose of the activity, the main one first."""
        return tuple(dict.fromkeys((self.purpose, *self.by_category.values())))


_COUNTED = (Recipient.OFFICERS, Recipient.QUERYING, Recipient.ANALYSTS)
_BOTH = (People.CONTACTS, People.AGENTS, People.OTHERS)
_TOLD = (Source.PERSON, Source.TEAM)

ACTIVITIES: tuple[Activity, ...] = (
    Activity(
        code="contacts",
        title="Contacts",
        records=(
            contacts.ContactCreated,
            contacts.ContactUpdated,
            contacts.ContactRectified,
            contacts.ContactMerged,
            contacts.ContactDeleted,
            contacts.ContactRestored,
            contacts.ContactBlocked,
            contacts.ContactUnblocked,
            contacts.ContactMentioned,
        ),
        people=(People.CONTACTS,),
        purpose=KNOW,
        by_category={Category.CIRCUMSTANCES: SITUATION, Category.CONTENT: SITUATION},
        retention=Retention.PROFILE,
        sources=(Source.PERSON, Source.TEAM, Source.OTHERS),
        shown=(CONTACTS,),
    ),
    Activity(
        code="pictures",
        title="Pictures of people",
        records=(contacts.ContactAvatarAdded,),
        people=(People.CONTACTS, People.AGENTS),
        purpose=PORTRAIT,
        retention=Retention.PICTURE,
        sources=_TOLD,
        shown=(CONTACTS,),
    ),
    Activity(
        code="consents",
        title="Consents",
        records=(contacts.ConsentGiven, contacts.ConsentWithdrawn),
        people=(People.CONTACTS,),
        purpose=CONSENT,
        retention=Retention.CONSENT,
        sources=(Source.PERSON,),
        shown=(CONTACTS,),
    ),
    Activity(
        code="agents",
        title="Agents",
        records=(
            agents.AgentCreated,
            agents.AgentUpdated,
            agents.AgentRectified,
            agents.AgentDeleted,
            contacts.ContactMadeAgent,
        ),
        people=(People.AGENTS,),
        purpose=TEAM,
        retention=Retention.PROFILE,
        sources=(Source.TEAM,),
        shown=(CONTACTS,),
    ),
    Activity(
        code="companies",
        title="Companies",
        records=(companies.CompanyCreated, companies.CompanyUpdated, companies.CompanyDeleted),
        people=(People.CONTACTS, People.OTHERS),
        purpose=BUSINESS,
        retention=Retention.COMPANY,
        sources=_TOLD,
        shown=(COMPANIES,),
    ),
    Activity(
        code="groups",
        title="Groups of the team",
        records=(companies.GroupCreated, companies.GroupUpdated, companies.GroupDeleted),
        people=(People.AGENTS,),
        purpose=TEAM,
        retention=Retention.COMPANY,
        sources=(Source.TEAM,),
        shown=(GROUPS,),
    ),
    Activity(
        code="vocabularies",
        title="Declared words",
        records=(declarations.VocabularyDeclared,),
        people=(),
        purpose=WORDS,
        retention=Retention.WORDS,
        sources=(Source.TEAM,),
    ),
    Activity(
        code="tickets",
        title="Tickets and their conversations",
        records=(
            tickets.TicketOpened,
            tickets.TicketUpdated,
            tickets.TicketMerged,
            tickets.TicketMergedAway,
            tickets.TicketDeleted,
            tickets.TicketRestored,
            tickets.TicketPurged,
            tickets.TicketReplied,
            tickets.TicketNoteAdded,
            tickets.TicketForwarded,
            tickets.TicketEntryEdited,
            tickets.TicketEntryDeleted,
            tickets.TicketAttachmentAdded,
            tickets.TicketAttachmentDeleted,
            discussions.DiscussionStarted,
            discussions.DiscussionMessagePosted,
            discussions.DiscussionMessageEdited,
            discussions.DiscussionMessageDeleted,
        ),
        people=_BOTH,
        purpose=ANSWER,
        retention=Retention.CONVERSATION,
        sources=(Source.PERSON, Source.TEAM, Source.OTHERS),
        shown=(TICKETS, REPORTS, ERASURES),
        recipients=_COUNTED,
    ),
    Activity(
        code="ratings",
        title="Ratings",
        records=(tickets.TicketRated,),
        people=(People.CONTACTS, People.AGENTS),
        purpose=LISTEN,
        retention=Retention.WITH_TICKET,
        sources=(Source.PERSON,),
        shown=(TICKETS, REPORTS),
        recipients=_COUNTED,
    ),
    Activity(
        code="times",
        title="Time spent",
        records=(tickets.TicketTimeLogged,),
        people=(People.AGENTS, People.CONTACTS),
        purpose=ACCOUNT,
        retention=Retention.WITH_TICKET,
        sources=(Source.TEAM,),
        shown=(TICKETS, REPORTS),
        recipients=_COUNTED,
    ),
    Activity(
        code="calls",
        title="Calls",
        records=(calls.CallLogged, calls.CallPurged),
        people=_BOTH,
        purpose=ANSWER,
        retention=Retention.TALK,
        sources=_TOLD,
        shown=(CALLS, REPORTS),
    ),
    Activity(
        code="recordings",
        title="Recordings and transcripts of calls",
        records=(calls.CallRecordingAdded, calls.CallTranscriptAdded),
        people=_BOTH,
        purpose=RECORD,
        retention=Retention.TALK,
        sources=_TOLD,
        shown=(CALLS, REPORTS),
    ),
    Activity(
        code="chats",
        title="Chats",
        records=(chats.ChatStarted, chats.ChatMessageSent, chats.ChatEnded, chats.ChatPurged),
        people=_BOTH,
        purpose=ANSWER,
        retention=Retention.TALK,
        sources=_TOLD,
        shown=(CHATS, REPORTS),
    ),
    Activity(
        code="shelves",
        title="Categories and forums",
        records=(
            forums.CategoryPosted,
            forums.CategoryEdited,
            forums.CategoryDeleted,
            forums.ForumPosted,
            forums.ForumEdited,
            forums.ForumMoved,
            forums.ForumDeleted,
        ),
        people=(),
        purpose=DISCUSS,
        retention=Retention.DESK_WORK,
        sources=(Source.TEAM,),
        shown=(FORUMS,),
    ),
    Activity(
        code="posts",
        title="Topics and comments",
        records=(
            forums.TopicPosted,
            forums.TopicEdited,
            forums.TopicMoved,
            forums.TopicLocked,
            forums.TopicVoted,
            forums.TopicDeleted,
            forums.TopicAttachmentAdded,
            forums.CommentPosted,
            forums.CommentEdited,
            forums.CommentVoted,
            forums.CommentDeleted,
            forums.CommentAttachmentAdded,
        ),
        people=_BOTH,
        purpose=DISCUSS,
        retention=Retention.POST,
        sources=_TOLD,
        shown=(FORUMS,),
    ),
    Activity(
        code="articles",
        title="Articles, their categories and folders",
        records=(
            articles.ArticleCategoryPosted,
            articles.ArticleCategoryEdited,
            articles.ArticleCategoryDeleted,
            articles.ArticleFolderPosted,
            articles.ArticleFolderEdited,
            articles.ArticleFolderDeleted,
            articles.ArticleDrafted,
            articles.ArticlePublished,
            articles.ArticleEdited,
            articles.ArticleDeleted,
            articles.ArticleAttachmentAdded,
        ),
        people=(People.AGENTS, People.OTHERS),
        purpose=PUBLISH,
        retention=Retention.DESK_WORK,
        sources=(Source.TEAM,),
        shown=(ARTICLES,),
    ),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What sealdesk keeps beside the facts, of its own making: what of people is in it, under which key, how long."""

    what: str
    holds: str
    key: str
    purpose: Purpose
    gone_when: str


HOUSE: tuple[Kept, ...] = (
    Kept(
        "register",
        "blind indexes of ids, addresses and numbers, and sealed with them the inside ids to which they lead",
        "index and page keys of the tenant",
        OPERATE,
        "the person or thing is shredded; what stays is a fence",
    ),
    Kept(
        "fences",
        "a tag and a day for each shredded reference",
        "fence key of the tenant and quarter",
        RIGHTS,
        "the key of its quarter dies, after SEALDESK_FENCE_DAYS",
    ),
    Kept(
        "quarantine",
        "records that could not be taken, sealed whole",
        "the key of the day",
        OPERATE,
        "it is taken up or dropped, a shred finds the person in it, or after SEALDESK_QUARANTINE_DAYS",
    ),
    Kept(
        "digests",
        "an HMAC of tenant, source and id of each record",
        "dedup key of the tenant",
        OPERATE,
        "never; it says nothing without its key and the record",
    ),
    Kept(
        "access lines",
        "who revealed what, when and why; which things by inside id",
        "desk of the tenant",
        RIGHTS,
        "no end is built",
    ),
    Kept(
        "requests",
        "holds, refusals and approvals concerning one person or thing, with the words of officers",
        "desk of the tenant",
        RIGHTS,
        "no end is built",
    ),
    Kept(
        "analysts' tables",
        "counts, durations and rows without people; agents as an HMAC of their inside id",
        "a secret of the tenant, which rotates on command",
        MEASURE,
        "written anew at each refresh; what they count stays",
    ),
    Kept(
        "ledger",
        "a line for each shred: the inside id of what went, a time, sealed fences; pseudonymous",
        "ledger key of the quarter; signed",
        RIGHTS,
        "what is sealed: the ledger key dies with the fences of its quarter; the line: no end is built",
    ),
    Kept(
        "certificates",
        "the account of a shred: times, and counts per place; it names nobody",
        "none; signed",
        RIGHTS,
        "no end is built",
    ),
)

#: What kind of personal data a reference is.
_OF_KIND: Mapping[Kind, Category] = MappingProxyType(
    {
        Kind.PERSON: Category.IDENTITY,
        Kind.EXTERNAL: Category.IDENTITY,
        Kind.TWITTER: Category.IDENTITY,
        Kind.FACEBOOK: Category.IDENTITY,
        Kind.EMAIL: Category.ADDRESS,
        Kind.PHONE: Category.ADDRESS,
    }
)


def category_of(kind: Kind) -> Category:
    """Say what kind of personal data a reference of this kind is; that of a thing or part goes with its content."""
    return _OF_KIND.get(kind, Category.CONTENT)


def activities_by_type(
    activities: tuple[Activity, ...] = ACTIVITIES, types: frozenset[str] = frozenset(CATALOGUE)
) -> Mapping[str, Activity]:
    """Say in which activity each type stands.

    Raises:
        TypeError: a type stands in none, or in more than one, or is not in the catalogue.
    """
    counted = Counter(record.TYPE for activity in activities for record in activity.records)
    wrong = sorted({name for name, times in counted.items() if times > 1} | (types ^ counted.keys()))
    if wrong:
        raise TypeError(f"each type of the catalogue stands in exactly one activity; not so: {', '.join(wrong)}")
    return MappingProxyType({record.TYPE: activity for activity in activities for record in activity.records})


ACTIVITY: Mapping[str, Activity] = activities_by_type()
