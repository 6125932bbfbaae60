"""How a process that runs for long is seen from outside: metrics, and whether it is alive and ready.

metrics    what a process counts of itself, in a registry of its own
standing   what the databases and the ledger say, read at most once every few seconds
brokers    what the brokers say of the topics: lag, and what still lies there
looking    one connection of its own to a database, that gives up soon
wired      which of these each process tells
pulse      whether the loop of the process still turns, and what it needs is there
listening  /metrics, /healthz and /readyz over HTTP
"""
