"""The figures, each a ratio of two sides that were measured in one run. `python -m benchmarks` says them.

history    the records: a made-up helpdesk, the same bytes every time
ground     a house on embedded servers in a temporary folder, at default durability
figures    what a figure is; stopwatch, alternation, medians
intake     records to committed facts
consuming  the same from the embedded broker
processes  the same by two processes at once
seal       a record in an envelope, from its publisher to the desk
projector  facts to read models, batch by batch
rebuild    facts to read models
page       a page of tickets, revealed
disk       bytes on disk, keys and read models included
memory     peaks, at so many records and at a tenth of them
shred      a request to its certificate
waiting    how long a shred waits while intake is at work without pause
growth     what one more costs, at five sizes
turn       a turn of the root epoch, with some people shredded
proving    the search for what a person said, against reading
library    the other side of intake: the eventsourcing library as it comes
runner     the other side of projector: the eventsourcing library's runner, one event a transaction
clear      the other side of intake and shred: the same facts without keys, register and seals
masking    the other side of shred: forget by rewriting rows
scaling    what very many helpdesks would need, computed from a run; writes docs/scaling.md
smoke      small runs against recorded ratios: whether anything has become slower
picture    draws what `growth` measured
document   writes docs/performance.md from a run
"""
