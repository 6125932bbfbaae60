"""What is true in a helpdesk, and whose it is.

Standard library and pydantic only: no I/O, no clock, no randomness.

ids           inside ids: random, they name nobody
errors        the error tree
fact          a fact before and after the log
personal      how a field is marked: personal, clear, a reference
vocabularies  the closed and the tenant-declared words
catalogue     every fact type there is, by its stored name
contacts      facts of contacts
agents        facts of agents
companies     facts of companies and of the groups of the team
tickets       facts of tickets and their conversations
discussions   facts of team discussions
attachments   what is said of a file
calls         facts of calls
chats         facts of chats
forums        facts of forums, topics and comments
articles      facts of articles
declarations  facts of what a tenant lets stand in the clear
upcasting     facts of an earlier version, read as those of this one
processing    what is done with each type of fact, and why
subjects      facts of erasure: what a shred leaves on the log
requests      the life of a data-subject request, holds included
"""
