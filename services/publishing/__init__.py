"""What upstream services publish with: CloudEvents to Kafka, each looked at before it is sent.

sending  a line to Kafka that keeps what is not acknowledged
"""
