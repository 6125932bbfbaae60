"""Files of things: sealed as streams under keys of their own, opened with a reason, swept after their keys.

stores     where sealed files lie: the protocol, and a folder
bucket     sealed files in a bucket of S3
attaching  files in and out, and the sweep
"""
