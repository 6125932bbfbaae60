"""Look at everything that whoever runs the house could have got wrong, and change nothing.

findings    what a check says: its state, and what to do next
examining   the settings, and all checks in their order
folders     the folders: who may enter, where they lie, how much room there is
opening     the roots, the signing key and the ledger: whether they open, and agree with their copies
servers     the two database servers: durability, what their logs would quote, time limits
reaching    how we reach them: login, TLS, clock; and whether the two are one
agreeing    whether log, keys, roots and ledger fit together, and what is left undone
machine     the memory of this machine: core dumps, swap
brokers     Kafka: its topics, and the way there
"""
