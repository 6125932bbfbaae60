"""Places of the ledger other than a file.

places   what SEALDESK_LEDGER and SEALDESK_LEDGER_COPY may name, and the ledger that is there
topic    a topic of Kafka
course   which records of a topic are lines of the ledger
bucket   a bucket of S3
"""
