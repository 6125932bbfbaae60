"""How often what happens in a generated helpdesk, and what bounds its memory.

A rate is a share between 0 and 1, of what its comment says; a delay is a mean, in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# -- what bounds memory -------------------------------------------------------------------------------------

#: Stories that run at once. Beyond that the one that is due next goes on at once: a desk that is busy works faster.
STORIES_KEPT = 4_000
#: Contacts of whom anything new can be told. A newcomer takes the place of somebody at random.
CONTACTS_KEPT = 3_000
#: Companies for whom a newcomer may work.
COMPANIES_KEPT = 300
#: The team: a desk of this many agents at least, one more for so many tickets, and no more than this.
AGENTS_AT_LEAST, TICKETS_AN_AGENT, AGENTS_AT_MOST = 6, 2_000, 40

# -- people -------------------------------------------------------------------------------------------------

#: Contacts for each ticket, unless the caller says how many: most people write a few times, some very often.
CONTACTS_A_TICKET = 0.25
#: How the number of tickets of one person leans: 1 is even, 2 makes the longest known write most.
LEANING = 2.0
#: Of all contacts: work for a company; have further addresses; have a telephone; are known to another system.
IN_COMPANY, MORE_ADDRESSES, WITH_PHONE, WITH_EXTERNAL_ID = 0.45, 0.35, 0.6, 0.12
#: Of all newcomers: write before anybody made a contact of them, so that only their address is known at first.
WRITES_FIRST = 0.1
#: Of all newcomers: bring a new company along.
WITH_NEW_COMPANY = 0.05
#: For each ticket: a happening of some person that has nothing to do with it (a change, consent, a merge, ...).
PERSON_HAPPENING = 0.06
#: For each ticket: a happening of a company; of somebody in the team.
COMPANY_HAPPENING, AGENT_HAPPENING = 0.006, 0.005
#: Of names, addresses and numbers inside texts: those of a contact that the desk knows. The rest nobody knows.
KNOWN_IN_TEXT = 0.6

# -- records ------------------------------------------------------------------------------------------------

#: Of all records: delivered twice, byte for byte, as at-least-once delivery does.
REPEATED = 0.003
#: Of all tickets: something else of the ticket is delivered before its opening.
OUT_OF_ORDER = 0.005
#: Seconds after which the opening comes in that case.
LATE_SECONDS = 45

# -- tickets ------------------------------------------------------------------------------------------------

#: Channels by how often they are used: Freshdesk's codes for e-mail, portal, phone, chat, feedback widget, ...
CHANNELS: Mapping[int, int] = MappingProxyType({1: 55, 2: 18, 3: 12, 7: 7, 9: 4, 13: 2, 5: 1, 6: 1})
#: Of all tickets: two are about the same and get merged; half of these were opened by two people.
REPORTED_TWICE, BY_SOMEBODY_ELSE = 0.015, 0.5
#: Of all tickets: rubbish, which is deleted, and then purged or (by mistake) restored.
SPAM, SPAM_PURGED = 0.012, 0.6
#: Of all tickets: somebody is in copy; of those people: write themselves.
IN_COPY, COPY_WRITES = 0.1, 0.5
#: Of all tickets: named by an address instead of an id (e-mail, phone, external id, in turn).
BY_ADDRESS = 0.18
#: Of all tickets: sorted by hand (group, agent, priority); move to another agent; move to another requester.
SORTED, REASSIGNED, OTHER_REQUESTER = 0.25, 0.06, 0.012
#: Of all tickets: nobody ever answers.
UNANSWERED = 0.07
#: Of all answers: the requester writes again. It makes the length of a conversation.
WRITES_AGAIN = 0.3
#: A conversation has no more rounds than this.
ROUNDS = 6
#: Of all rounds: a note of the team; time logged; the ticket is forwarded; the status waits for somebody.
NOTED, TIMED, FORWARDED, WAITING = 0.12, 0.06, 0.02, 0.06
#: Of all entries: with a file; of those files: deleted.
WITH_FILE, FILE_DELETED = 0.05, 0.12
#: Of all entries: edited; deleted; quote what came before; have HTML beside the plain text.
EDITED, DELETED, QUOTES, WITH_HTML = 0.015, 0.008, 0.1, 0.15
#: Of all answered tickets: resolved; of those: rated, closed, opened again.
RESOLVED, RATED, CLOSED, REOPENED = 0.8, 0.14, 0.15, 0.03
#: Of all tickets: deleted at last; of those: restored, else purged later.
TRASHED, RESTORED, PURGED = 0.015, 0.3, 0.6
#: Of all tickets: the team discusses it. Of the messages: edited; deleted.
DISCUSSED, MESSAGE_EDITED, MESSAGE_DELETED = 0.025, 0.1, 0.07
#: Seconds until the first answer, between entries, until a resolved ticket is rated or closed.
UNTIL_ANSWER, BETWEEN_ENTRIES, UNTIL_CLOSED = 6 * 3600, 14 * 3600, 2 * 86_400

# -- everything else, for each ticket -----------------------------------------------------------------------

#: A call, a chat, a forum topic or an article that belongs to no ticket.
CALL, CHAT, TOPIC, ARTICLE = 0.02, 0.006, 0.015, 0.004
#: Of all calls: nobody knows who called; are recorded; are written down; are purged.
CALL_OF_NOBODY, RECORDED, WRITTEN_DOWN, CALL_PURGED = 0.08, 0.3, 0.3, 0.04
#: Of tickets by phone: the call itself is told, too. Of tickets by chat: the chat.
CALL_TOLD, CHAT_TOLD = 0.4, 0.2
#: Messages of a chat at most.
MESSAGES = 6
#: Of all chats: purged.
CHAT_PURGED = 0.04
#: Of all topics and comments: with a file, edited, deleted; of topics: moved, locked; the comments of one at most.
POST_FILE, POST_EDITED, POST_DELETED, TOPIC_MOVED, TOPIC_LOCKED, COMMENTS = 0.08, 0.08, 0.05, 0.05, 0.1, 5
#: Of all articles: with a file, deleted after all.
ARTICLE_FILE, ARTICLE_DELETED = 0.3, 0.15
#: Tickets between two seasons; one begins with the first ticket.
SEASON_TICKETS = 400
