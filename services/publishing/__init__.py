"""What upstream services publish with: CloudEvents to Kafka, each looked at before it is sent; and sealed, if asked.

publisher  the client: build an event, send it, read its receipt
sending    an event as a Kafka record, and a file of them published
line       a line to Kafka that keeps what is not acknowledged
receiving  the receipts of a publisher's records
sealing    the envelope and its hashes, at the publisher
opening    the envelope opened and compared, at the desk
retiring   pairs that no topic needs any more
"""
