"""The figures, each a ratio of two sides that were measured in one run. `python -m benchmarks` says them.

history    the records: a made-up helpdesk, the same bytes every time
ground     a house on embedded servers in a temporary folder, at default durability
figures    what a figure is; stopwatch, alternation, medians
intake     records to committed facts
seal       a record in an envelope, from its publisher to the desk
rebuild    facts to read models
shred      a request to its certificate
turn       a turn of the root epoch, with some people shredded
proving    the search for what a person said, against reading
library    the other side of intake: the eventsourcing library as it comes
clear      the other side of intake and shred: the same facts without keys, register and seals
masking    the other side of shred: forget by rewriting rows
document   writes docs/performance.md from a run
"""
