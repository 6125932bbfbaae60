"""`shred --prove`: what was said and what opened it, looked for byte by byte wherever it could still stand.

everywhere   every place of a house
gathering    what to look for, read before anybody shreds: values, wrapped keys
forms        how a value may be written where it lies
matching     many needles at once, in a stream
clear_words  what stands in the clear by right, so that a hit on it would say nothing
places       what a place is, and what a search of it gives
dumps        the tables of a database, its catalogs and its large objects
clusters     the files and the write-ahead log of a database server of ours
folders      process logs, and sealed files in a folder
buckets      sealed files in a bucket
topics       what Kafka still gives to whoever reads from the beginning
proof        all places, searched, and what follows from it
statements   the SQL of it
"""
