"""Kafka, the front door: records in, receipts and news out, and nothing left lying.

connecting  where the brokers are, TLS and SASL, and what to look at when they refuse
admission   which topics are read, and whose records each may bring
inspecting  topics as the brokers have them: ids, settings, replicas, offsets, bytes
topics      how topics should be set, and what is wrong with those that are not
rights      who may do what with them, for brokers with an authorizer
epochs      finding out that a log was cut below what was read of it
clearing    what is stored goes from the topics
heartbeats  records of nothing, so that a quiet partition begins a new segment
ends        where partitions ended at a shred, and what is in the way of their being cleared
sources     when nothing of what was published before a shred is left there
receipts    what became of each record, told to its publisher
telling     news to its recipients
replies     what recipients answer
consuming   records from topics to intake, batch by batch
joining     being a member of a consumer group
reading     each partition from its stored position
seeking     where to read on, and whether anything was lost meanwhile
faring      whether the group has let us in, what cannot be read now, whether all is read
epochs      whether a log was cut below what was read of it
decoding    every record of a fetch comes out, readable or not
inflating   what publishers compressed, up to a limit
messages    one record, one parcel
stalling    noticing a client that is wedged
"""
