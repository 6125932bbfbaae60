"""Kafka, the front door: records in, receipts and news out, and nothing left lying.

connecting  where the brokers are, TLS and SASL, and what to look at when they refuse
consuming   records from topics to intake, each partition from its stored position
"""
