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
tickets       facts of tickets and their conversations
subjects      facts of erasure: what a shred leaves on the log
requests      the life of a data-subject request, holds included
"""
